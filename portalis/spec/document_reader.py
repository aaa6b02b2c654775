"""Reads a table from a TOML, YAML or JSON file, and rejects files that would lose data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..bounded import CONFIG_BOUNDS, Excess, parse_json, parse_toml
from ..errors import UsageError
from ..escaping import printable

_KINDS = {".toml": "TOML", ".yaml": "YAML", ".yml": "YAML", ".json": "JSON"}


def read_document(path: Path) -> dict[Any, Any]:
    """The table in the TOML, YAML or JSON file `path`. Values can have any type of the format, such as dates. Raises
    UsageError for any other content."""
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(
            f"{path} has the unknown extension {path.suffix or '(none)'!r}",
            remediation=f"Use a file that ends in {', '.join(_KINDS)}.",
        )
    text = _text(path)
    try:
        data = _PARSERS[kind](text)
    except Excess as error:
        raise UsageError(f"{path} {error}, more than a spec can have") from None
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{path} is not valid {kind}: {printable(' '.join(str(error).split()))}") from None
    if not isinstance(data, dict):
        what = {"NoneType": "nothing", "list": "a list", "str": "a string"}.get(type(data).__name__, "a single value")
        raise UsageError(f"{path}: expected a table, got {what}")
    return data


def _text(path: Path) -> str:
    remediation = "Name a spec file; `portalis init MODULE` writes one."
    try:
        if not path.is_file():
            kind = "is not a regular file" if path.exists() else "does not exist"
            raise UsageError(f"{path} {kind}", remediation=remediation)
        with path.open("rb") as file:
            data = file.read(CONFIG_BOUNDS.max_bytes + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", remediation=remediation) from None
    if len(data) > CONFIG_BOUNDS.max_bytes:
        raise UsageError(f"{path} has more than the {CONFIG_BOUNDS.max_bytes} bytes that a spec may have")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error}") from None


def _toml(text: str) -> Any:
    return parse_toml(text, CONFIG_BOUNDS)


def _yaml(text: str) -> Any:
    # PyYAML is imported only for YAML, because the import takes time
    from ..bounded.yaml_text import parse_yaml

    return parse_yaml(text, CONFIG_BOUNDS)


def _json(text: str) -> Any:
    return parse_json(text, CONFIG_BOUNDS)


_PARSERS = {"TOML": _toml, "YAML": _yaml, "JSON": _json}
