"""`portalis schema`: prints the JSON Schema of a file that portalis reads or writes (a module per command)."""

from __future__ import annotations

from typing import Annotated

import typer


def schema(
    name: Annotated[str, typer.Argument(help="spec, input, output, error or manifest.")] = "spec",
) -> None:
    """Print the JSON Schema of the spec file or of a contract.

    Editors use it for completion and validation. Example: portalis schema > portalis.schema.json
    """
    from ..contracts.json_schemas import schema_text

    print(schema_text(name), end="")
