"""Reads a TOML, YAML or JSON file as plain data, such as JSON can hold, and refuses what would be lost on the way."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..problems import InputProblems, Problem

MAX_BYTES = 16 << 20
MAX_VALUES = 1_000_000  # YAML's aliases can make a small file a huge document
KINDS = {".toml": "TOML", ".yaml": "YAML", ".yml": "YAML", ".json": "JSON"}


def read_document(path: Path) -> dict[str, Any]:
    """The table in `path`. Raises UsageError where there is none, InputProblems where a value is no data."""
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
    except _SYNTAX() as error:
        raise UsageError(f"{path} is not valid {kind}: {_one_line(error)}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path} holds no table of keys, but {type(data).__name__}")
    problems = list(_problems(data))
    if problems:
        raise InputProblems(problems, source=str(path))
    return data


def _text(path: Path) -> str:
    if not path.is_file():
        kind = "is not a regular file" if path.exists() else "does not exist"
        raise UsageError(f"{path} {kind}", remediation="Name a spec file; `portalis init MODULE` writes one.")
    if path.stat().st_size > MAX_BYTES:
        raise UsageError(f"{path} has {path.stat().st_size} bytes; a spec has at most {MAX_BYTES}")
    try:
        return path.read_text(encoding="utf-8")
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

    class Loader(yaml.SafeLoader):
        """YAML lets a key be given twice and keeps the last; here that is an error."""

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        loader.flatten_mapping(node)
        pairs = [(loader.construct_object(key, deep=True), key, value) for key, value in node.value]
        seen: set[Any] = set()
        for key, where, _ in pairs:
            if isinstance(key, (dict, list)) or key in seen:
                problem = "a key must be text" if isinstance(key, (dict, list)) else f"{key!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, where.start_mark)
            seen.add(key)
        return {key: loader.construct_object(value, deep=True) for key, _, value in pairs}

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return yaml.load(text, Loader=Loader)  # noqa: S506 (a SafeLoader)


def _json(text: str) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in found]
        twice = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
        if twice is not None:
            raise ValueError(f"{twice!r} is given twice")
        return dict(found)

    return json.loads(text, object_pairs_hook=pairs)


_PARSERS = {"TOML": _toml, "YAML": _yaml, "JSON": _json}


def _SYNTAX() -> tuple[type[Exception], ...]:  # noqa: N802 (the exceptions to catch)
    import yaml

    return (ValueError, yaml.YAMLError)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _problems(data: Any) -> Iterator[Problem]:
    """What JSON cannot hold, or no file format and no program argument: other keys than text, dates, NaN, NUL."""
    stack: list[tuple[str, Any]] = [("", data)]
    count = 0
    while stack:
        where, value = stack.pop()
        count += 1
        if count > MAX_VALUES:
            yield Problem(where="", message=f"it holds more than {MAX_VALUES} values")
            return
        if isinstance(value, dict):
            for key, inner in value.items():
                at = f"{where}.{key}" if where else str(key)
                if not isinstance(key, str):
                    yield Problem(where=at, message=f"the key {key!r} is no text", remediation="Put it into quotes.")
                elif trouble := _trouble(key):
                    yield Problem(where=ascii(at), message=f"the key has {trouble}")
                else:
                    stack.append((at, inner))
        elif isinstance(value, list):
            stack += [(f"{where}[{i}]", inner) for i, inner in enumerate(value)]
        elif isinstance(value, str):
            if trouble := _trouble(value):
                yield Problem(where=where, message=f"{value!a} has {trouble}")
        elif isinstance(value, float) and not math.isfinite(value):
            yield Problem(where=where, message=f"{value} is no finite number")
        elif value is not None and not isinstance(value, (bool, int, float)):
            yield Problem(
                where=where, message=f"{value} is a {type(value).__name__}, not text", remediation="Put it into quotes."
            )


def _trouble(text: str) -> str:
    if "\0" in text:
        return "a NUL character"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "half of a surrogate pair"
    return ""
