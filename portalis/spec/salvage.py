"""Validates data as a model; where something is wrong, also what is left of it, so that more can be checked."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from ..problems import Problem
from .explain import Place, explain, place_text

M = TypeVar("M", bound=BaseModel)
_ROUNDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvaged(Generic[M]):
    """The `model`, None where nothing can be had; what is wrong; and where something was left out for it."""

    model: M | None
    problems: tuple[Problem, ...]
    left_out: frozenset[str]


def salvage(model: type[M], data: Mapping[str, Any], stand_ins: Mapping[Place, Any]) -> Salvaged[M]:
    """`data`, such as JSON can hold, as `model`. What is wrong is taken out, and the rest is tried again.

    `stand_ins` has values for places that cannot be left out.
    """
    rest, found, removed = copy.deepcopy(dict(data)), dict[Place, Problem](), set[Place]()
    for _ in range(_ROUNDS):
        try:
            made = model.model_validate_json(json.dumps(rest))
        except ValidationError as error:
            placed = explain(error.errors(include_url=False), model, rest)
        else:
            gone = frozenset(place_text(place) for place in removed)
            return Salvaged(model=made, problems=tuple(found.values()), left_out=gone)
        for place, problem in placed:
            if not any(place == known[: len(place)] for known in removed):
                found[place] = problem
            out = place
            while out in removed:  # it is needed there, so what needs it goes as well
                out = out[:-1]
            removed.add(out)
            _leave_out(rest, out, stand_ins)
    return Salvaged(model=None, problems=tuple(found.values()), left_out=frozenset())


def _leave_out(data: Any, place: Place, stand_ins: Mapping[Place, Any]) -> None:
    """Remove the value at `place`, or put a stand-in there."""
    for part in place[:-1]:
        if not isinstance(data, (dict, list)) or (isinstance(data, dict) and part not in data):
            return
        data = data[part]  # type: ignore[index]
    last = place[-1] if place else None
    if isinstance(data, dict) and place in stand_ins:
        data[last] = stand_ins[place]
    elif isinstance(data, dict):
        data.pop(last, None)
    elif isinstance(data, list) and isinstance(last, int) and last < len(data):
        data[last] = None
