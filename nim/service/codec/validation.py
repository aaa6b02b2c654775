"""Validation errors of JSON documents in the words of JSON: no names of classes or of Python's types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ..runtime_api import describe_json_value

_MOST = 2000
# the kinds of pydantic's errors: what was expected
_EXPECTED = {
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "an object"),
    "list_type": "a list",
    "string_type": "text",
    "int_type": "an integer",
    "bool_type": "true or false",
    "int_from_float": "an integer",
}


def describe_validation_error(problem: ValidationError, what: str = "the request") -> str:
    """Everything that does not fit, each with its path, in one line of bounded length."""
    # the members of a union fail each for itself, under the path of the value and the member's own name
    found: dict[str, tuple[list[str], Any]] = {}
    other: list[str] = []
    for error in problem.errors(include_url=False):
        kind, place = error["type"], error["loc"]
        if kind in _EXPECTED:
            if place and place[-1] in ("int", "str"):
                place = place[:-1]
            found.setdefault(_path(place) or what, ([], error["input"]))[0].append(_EXPECTED[kind])
        else:
            sentence = _sentence(kind, error.get("ctx", {}), error["input"], error["msg"])
            other.append(f"{_path(place) or what}: {sentence}")
    messages = [
        f"{path}: expected {' or '.join(dict.fromkeys(kinds))}, got {describe_json_value(value)}"
        for path, (kinds, value) in found.items()
    ]
    text = "; ".join((messages + other)[:20])
    return text if len(text) <= _MOST else f"{text[:_MOST]} …"


def _path(place: Sequence[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def _sentence(kind: str, context: Mapping[str, Any], value: Any, otherwise: str) -> str:
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
    return otherwise
