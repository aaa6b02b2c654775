"""The last check before anything is put in place: whatever the report will name is there, and not empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ..contracts.output import Artifacts
from ..errors import PortalisError
from ..output import Staging

_PATHS = ("_path", "_paths", "grpc_proto", "grpc_descriptor")


def validate_completeness(artifacts: Artifacts, staging: Staging) -> None:
    """Raise PortalisError where an artifact names a file that is not in the staging folder, or is empty."""
    missing = [str(path) for path in _named(artifacts) if not _is_there(path, staging)]
    if missing:
        raise PortalisError(
            f"the package would not be complete, without or with nothing in {', '.join(missing)}",
            remediation="Please report this: a stage has named what it did not make.",
        )


def _is_there(path: Path, staging: Staging) -> bool:
    place = staging.folder / path.relative_to(staging.output)
    return place.is_dir() or (place.is_file() and place.stat().st_size > 0)


def _named(value: Any, key: str = "") -> Iterator[Path]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _named(getattr(value, name), name)
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _named(each, key)
    elif isinstance(value, str) and key.endswith(_PATHS):
        yield Path(value)
