"""The last check before the output directory is replaced: every file that the report names exists and has content."""

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
    """Raise PortalisError if a file of an artifact is missing in the staging directory, or is empty."""
    missing = [str(path) for path in _paths(artifacts) if not _has_content(path, staging)]
    if missing:
        raise PortalisError(
            f"the package is incomplete: missing or empty: {', '.join(missing)}",
            remediation="Please report this: a stage named a file that it did not write.",
        )


def _has_content(path: Path, staging: Staging) -> bool:
    staged = staging.folder / path.relative_to(staging.output)
    return staged.is_dir() or (staged.is_file() and staged.stat().st_size > 0)


def _paths(value: Any, key: str = "") -> Iterator[Path]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _paths(getattr(value, name), name)
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _paths(each, key)
    elif isinstance(value, str) and key.endswith(_PATHS):
        yield Path(value)
