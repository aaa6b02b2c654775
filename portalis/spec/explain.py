"""Converts pydantic's errors to problems: one per location, with its path and the nearest known key."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from ..problems import MAX_PROBLEMS, Problem, did_you_mean
from .base import TABLE, WORD
from .loc import Loc, loc_text
from .plain import format_value

# messages for pydantic's error types, phrased for a spec file
_MESSAGES = {
    "bool_type": "expected true or false, got {shown}",
    "dict_type": "expected a table, got {shown}",
    "float_type": "expected a number, got {shown}",
    "greater_than_equal": "{shown} is less than {ge}",
    "int_from_float": "expected an integer, got {shown}",
    "int_type": "expected an integer, got {shown}",
    "less_than_equal": "{shown} is more than {le}",
    "model_type": "expected a table, got {shown}",
    "path_type": "expected a string, got {shown}",
    "string_pattern_mismatch": "{shown} does not match {pattern}",
    "string_too_short": "it is empty",
    "string_type": "expected a string, got {shown}",
    "too_short": "expected at least one item, got none",
    "tuple_type": "expected a list, got {shown}",
}


def explain_validation_errors(errors: Iterable[ErrorDetails], model: type[BaseModel], data: Any) -> dict[Loc, Problem]:
    """A problem for each location in `data`, which is plain, that `model` rejects; at most about `MAX_PROBLEMS`."""
    by_loc: dict[Loc, list[ErrorDetails]] = {}
    for error in errors:
        by_loc.setdefault(_in_data(error["loc"], data), []).append(error)
        if len(by_loc) > MAX_PROBLEMS:
            break
    return {loc: _problem(loc, group, model) for loc, group in by_loc.items()}


def _in_data(loc: Loc, data: Any) -> Loc:
    """`loc` without the parts that pydantic adds for members of unions and for keys of tables."""
    parts: list[int | str] = []
    for i, part in enumerate(loc):
        if part in (TABLE, WORD):
            continue
        if (isinstance(data, dict) and part in data) or (isinstance(data, list) and part in range(len(data))):
            data = data[part]
        elif i < len(loc) - 1 or not isinstance(data, dict) or part == "[key]":
            continue
        parts.append(part)  # also a missing key
    return tuple(parts)


def _problem(loc: Loc, errors: list[ErrorDetails], model: type[BaseModel]) -> Problem:
    where = loc_text(loc)
    kinds = {error["type"] for error in errors}
    if kinds == {"extra_forbidden"}:
        key, known = str(errors[0]["loc"][-1]), _keys(_types_at(model, loc[:-1]))
        return Problem(where=where, message=f"the key {key!r} is unknown", remediation=did_you_mean(key, known))
    if kinds == {"missing"}:
        return Problem(where=where, message="it is missing", remediation=f"Set {where}.")
    tables = [kind for kind in _types_at(model, loc) if _is_model(kind)] if "enum" in kinds else []
    return Problem(where=where, message=" or ".join(dict.fromkeys(_message(error, tables) for error in errors)))


def _message(error: ErrorDetails, tables: list[type[BaseModel]]) -> str:
    """The message for one error; `tables` are the models allowed instead of an enum's values."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if kind == "enum":
        words = context["expected"].replace(" or ", ", ")
        forms = "".join(f", or a table {{ {key} = … }}" for key in _keys(tables))
        return f"expected one of {words}{forms}, got {format_value(error['input'])}"
    if kind in _MESSAGES:
        return _MESSAGES[kind].format(shown=format_value(error["input"]), **context)
    return f"{format_value(error['input'])}: {error['msg'][:1].lower()}{error['msg'][1:]}"


def _keys(kinds: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(key for kind in kinds if _is_model(kind) for key in kind.model_fields))


def _types_at(model: Any, loc: Loc) -> list[Any]:
    """The types allowed at `loc`, from the annotations of `model`."""
    kinds = [model]
    for part in loc:
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    return kinds


def _inside(kind: Any, part: int | str) -> list[Any]:
    if _is_model(kind):
        field = kind.model_fields.get(part) if isinstance(part, str) else None
        return _members(field.annotation) if field is not None else []
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(origin, type) and issubclass(origin, tuple) and arguments:
        return _members(arguments[0])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _members(arguments[1])
    return []


def _members(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if origin in (typing.Union, UnionType):
        return [inner for each in typing.get_args(annotation) for inner in _members(each)]
    return [annotation]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
