"""Reads a table from a TOML, YAML or JSON file, and refuses what would be lost on the way."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..problems import one_line

MAX_BYTES = 4 << 20
KINDS = {".toml": "TOML", ".yaml": "YAML", ".yml": "YAML", ".json": "JSON"}


def read_document(path: Path) -> dict[Any, Any]:
    """The table in `path`, with whatever values the format has. Raises UsageError where there is none."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(
            f"{path} has the ending {path.suffix or '(none)'!r}", remediation=f"Known are: {', '.join(KINDS)}."
        )
    text = _text(path)
    try:
        data = _PARSERS[kind](text)
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{path} is not valid {kind}: {one_line(' '.join(str(error).split()))}") from None
    if not isinstance(data, dict):
        what = {"NoneType": "nothing", "list": "a list", "str": "a text"}.get(type(data).__name__, "a single value")
        raise UsageError(f"{path} holds no table of keys, but {what}")
    return data


def _text(path: Path) -> str:
    remediation = "Name a spec file; `portalis init MODULE` writes one."
    try:
        if not path.is_file():
            kind = "is not a regular file" if path.exists() else "does not exist"
            raise UsageError(f"{path} {kind}", remediation=remediation)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", remediation=remediation) from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} has more than the {MAX_BYTES} bytes that a spec may have")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error}") from None


def _toml(text: str) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    return tomllib.loads(text)


def _yaml(text: str) -> Any:
    import yaml

    from .yaml_data import yaml_data

    try:
        return yaml_data(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once_each)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r} is given twice")
        found[key] = value
    return found


_PARSERS = {"TOML": _toml, "YAML": _yaml, "JSON": _json}
