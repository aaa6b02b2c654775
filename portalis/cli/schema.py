"""`portalis schema`: the JSON Schemas of the files that portalis reads and writes."""

from __future__ import annotations

from typing import Annotated

import typer


def schema(
    name: Annotated[str, typer.Argument(help="spec, input, output, error or manifest.")] = "spec",
) -> None:
    """Print a JSON Schema: of the spec file, or of a contract.

    Editors complete and check a spec with it. Example: portalis schema > portalis.schema.json
    """
    from ..contracts.json_schemas import schema_text

    print(schema_text(name), end="")
