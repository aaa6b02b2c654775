"""Turns what pydantic found into problems that a person can act on: one a place, with its path and the nearest key."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from itertools import groupby
from types import UnionType
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from ..problems import Problem, did_you_mean

Place = tuple[int | str, ...]


def place_text(place: Iterable[int | str]) -> str:
    """``triton_config.inputs[0].dims``."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def explain(errors: Iterable[ErrorDetails], model: type[BaseModel], data: Any) -> list[tuple[Place, Problem]]:
    """A problem for each place in `data` that `model` does not take, in the order of the places."""
    placed = [(_in_data(error["loc"], data), error) for error in errors]
    placed.sort(key=lambda each: [str(part).zfill(8) for part in each[0]])
    found = []
    for place, group in groupby(placed, key=lambda each: each[0]):
        found.append((place, _problem(place, [error for _, error in group], model)))
    return found


def _in_data(loc: Place, data: Any) -> Place:
    """`loc` without the names of union members that pydantic puts in between."""
    place: list[int | str] = []
    for i, part in enumerate(loc):
        here = isinstance(data, (dict, list)) and (
            (isinstance(data, dict) and part in data) or (isinstance(data, list) and isinstance(part, int))
        )
        if here and (isinstance(data, dict) or part < len(data)):  # type: ignore[operator]
            place.append(part)
            data = data[part]
        elif i == len(loc) - 1 and isinstance(data, dict) and "[" not in str(part):
            place.append(part)  # a key that is missing
    return tuple(place)


def _problem(place: Place, errors: list[ErrorDetails], model: type[BaseModel]) -> Problem:
    where = place_text(place)
    kinds = {error["type"] for error in errors}
    if kinds == {"extra_forbidden"}:
        known = _keys(model, place[:-1])
        return Problem(
            where=where, message=f"the key {place[-1]!r} is unknown", remediation=did_you_mean_key(place, known)
        )
    if kinds == {"missing"}:
        return Problem(where=where, message="it is missing", remediation="Set it.")
    return Problem(where=where, message=" or ".join(dict.fromkeys(map(_sentence, errors))))


def did_you_mean_key(place: Place, known: list[str]) -> str:
    """A hint at the nearest of the known keys."""
    return did_you_mean(str(place[-1]), known) if known else ""


def _sentence(error: ErrorDetails) -> str:
    shown = _shown(error["input"])
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if kind == "enum":
        return f"{shown} is none of {context['expected'].replace(' or ', ', ')}"
    if kind == "model_type":
        return f"{shown} is no table of keys"
    if kind == "extra_forbidden":
        return f"the key {error['loc'][-1]!r} is unknown"
    return f"{shown}: {error['msg'][:1].lower()}{error['msg'][1:]}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _keys(model: Any, place: Place) -> list[str]:
    """The keys that a table at `place` may have, following annotations from `model`."""
    kinds = [model]
    for part in place:
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    return list(dict.fromkeys(key for kind in kinds if _is_model(kind) for key in kind.model_fields))


def _inside(kind: Any, part: int | str) -> list[Any]:
    if _is_model(kind):
        field = kind.model_fields.get(part) if isinstance(part, str) else None
        return _members(field.annotation) if field is not None else []
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is not None and isinstance(origin, type) and issubclass(origin, tuple) and arguments:
        return _members(arguments[0])
    if origin is not None and isinstance(origin, type) and issubclass(origin, (dict, Mapping)):
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
    return isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, Enum)
