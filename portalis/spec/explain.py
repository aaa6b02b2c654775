"""Turns what pydantic found into problems that a person can act on: one a place, with its path and the nearest key."""

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

# pydantic's kinds of errors in the words of a spec file
_SENTENCES = {
    "bool_type": "{shown} is neither true nor false",
    "dict_type": "{shown} is no table of keys",
    "float_type": "{shown} is no number",
    "greater_than_equal": "{shown} is less than {ge}",
    "int_from_float": "{shown} is no whole number",
    "int_type": "{shown} is no whole number",
    "less_than_equal": "{shown} is more than {le}",
    "model_type": "{shown} is no table of keys",
    "path_type": "{shown} is no text",
    "string_pattern_mismatch": "{shown} does not match {pattern}",
    "string_too_short": "it is empty",
    "string_type": "{shown} is no text",
    "too_short": "it is empty, and at least one is needed",
    "tuple_type": "{shown} is no list",
}


def explain_validation_errors(errors: Iterable[ErrorDetails], model: type[BaseModel], data: Any) -> dict[Loc, Problem]:
    """A problem for each place in `data`, which is plain, that `model` does not accept; of very many, the first."""
    placed: dict[Loc, list[ErrorDetails]] = {}
    for error in errors:
        placed.setdefault(_in_data(error["loc"], data), []).append(error)
        if len(placed) > MAX_PROBLEMS:
            break
    return {place: _problem(place, found, model) for place, found in placed.items()}


def _in_data(loc: Loc, data: Any) -> Loc:
    """`loc` without what pydantic puts in for the members of unions and for the keys of tables."""
    place: list[int | str] = []
    for i, part in enumerate(loc):
        if part in (TABLE, WORD):
            continue
        if (isinstance(data, dict) and part in data) or (isinstance(data, list) and part in range(len(data))):
            data = data[part]
        elif i < len(loc) - 1 or not isinstance(data, dict) or part == "[key]":
            continue
        place.append(part)  # also a key that is missing
    return tuple(place)


def _problem(place: Loc, errors: list[ErrorDetails], model: type[BaseModel]) -> Problem:
    where = loc_text(place)
    kinds = {error["type"] for error in errors}
    if kinds == {"extra_forbidden"}:
        key, known = str(errors[0]["loc"][-1]), _keys(_kinds(model, place[:-1]))
        return Problem(where=where, message=f"the key {key!r} is unknown", remediation=did_you_mean(key, known))
    if kinds == {"missing"}:
        return Problem(where=where, message="it is missing", remediation=f"Set {where}.")
    tables = [kind for kind in _kinds(model, place) if _is_model(kind)] if "enum" in kinds else []
    return Problem(where=where, message=" or ".join(dict.fromkeys(_sentence(error, tables) for error in errors)))


def _sentence(error: ErrorDetails, tables: list[type[BaseModel]]) -> str:
    """`tables` are what could stand in place of one of an enum's words."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if kind == "enum":
        words = context["expected"].replace(" or ", ", ")
        forms = "".join(f", and no table such as {{ {key} = … }}" for key in _keys(tables))
        return f"{format_value(error['input'])} is none of {words}{forms}"
    if kind in _SENTENCES:
        return _SENTENCES[kind].format(shown=format_value(error["input"]), **context)
    return f"{format_value(error['input'])}: {error['msg'][:1].lower()}{error['msg'][1:]}"


def _keys(kinds: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(key for kind in kinds if _is_model(kind) for key in kind.model_fields))


def _kinds(model: Any, place: Loc) -> list[Any]:
    """What may stand at `place`, following annotations from `model`."""
    kinds = [model]
    for part in place:
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
