"""Messages for validation errors of JSON documents: in JSON's terms, without names of classes or Python's types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ..runtime_api import describe_json_value

_MAX_CHARACTERS, _MAX_ERRORS = 2000, 20
# expected types, by the kinds of pydantic's errors
_EXPECTED = {
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "an object"),
    "list_type": "a list",
    "string_type": "text",
    "int_type": "an integer",
    "bool_type": "true or false",
    "int_from_float": "an integer",
}


def describe_validation_error(error: ValidationError) -> str:
    """All validation errors of a request, each with its path: one line of bounded length."""
    # the members of a union fail separately, under the path of the value and the member's own name
    expected: dict[str, tuple[list[str], Any]] = {}
    others: list[str] = []
    for each in error.errors(include_url=False):
        kind, loc = each["type"], each["loc"]
        if kind in _EXPECTED:
            if loc and loc[-1] in ("int", "str"):
                loc = loc[:-1]
            expected.setdefault(_path(loc), ([], each["input"]))[0].append(_EXPECTED[kind])
        else:
            message = _message(kind, each.get("ctx", {}), each["input"], each["msg"])
            others.append(f"{_path(loc)}: {message}")
    messages = [
        f"{path}: expected {' or '.join(dict.fromkeys(kinds))}, got {describe_json_value(value)}"
        for path, (kinds, value) in expected.items()
    ]
    text = "; ".join((messages + others)[:_MAX_ERRORS])
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]} …"


def _path(loc: Sequence[int | str]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return path.lstrip(".") or "the request"


def _message(kind: str, context: Mapping[str, Any], value: Any, default: str) -> str:
    if kind == "missing":
        return "it is missing"
    if kind == "greater_than_equal":
        return f"expected at least {context['ge']}, got {describe_json_value(value)}"
    if kind == "less_than_equal":
        return f"expected at most {context['le']}, got {describe_json_value(value)}"
    if kind == "too_long":
        return f"expected at most {context['max_length']} elements, got {context['actual_length']}"
    if kind == "literal_error":
        return f"expected {context['expected']}, got {describe_json_value(value)}"
    if kind == "int_parsing_size":
        return f"{describe_json_value(value)} is too large"
    return default
