"""Validates data as a model; where something is wrong, also what is left of it, so that more can be checked."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from ..problems import MAX_PROBLEMS, Problem, truncate_problems
from .explain import explain_validation_errors
from .loc import Loc, loc_text
from .plain import PlainData

M = TypeVar("M", bound=BaseModel)
ANY: Final = "[]"
"""Any index, in the place of a stand-in."""
_ROUNDS = 64  # each takes out something; nothing is nested that deep


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvaged(Generic[M]):
    """The `model`, None where nothing can be had; what is wrong; and where something was left out for it."""

    model: M | None
    problems: tuple[Problem, ...]
    left_out: frozenset[str]


def salvage(model: type[M], data: Mapping[Any, Any], stand_ins: Mapping[Loc, Any], *, source: str) -> Salvaged[M]:
    """`data` as `model`. What is wrong is taken out, and the rest is tried again.

    `stand_ins` has values for places that cannot be left out. Raises InputProblems, about `source`, for data without
    end.
    """
    plain = PlainData(data, source=source)
    rest, found = plain.data, plain.problems
    removed: set[Loc] = set()
    for _ in range(_ROUNDS):
        try:
            made = model.model_validate_json(json.dumps(rest))
        except ValidationError as error:
            placed = explain_validation_errors(error.errors(include_url=False), model, rest)
        else:
            gone = frozenset(loc_text(place) for place in removed | found.keys())
            return Salvaged(model=made, problems=tuple(found.values()), left_out=gone)
        known = removed | found.keys()
        news = {place for place in placed if not _follows(place, known)}
        found |= {place: placed[place] for place in placed if place in news and not _follows(place, news - {place})}
        out = {_needing(place, removed) for place in placed}
        if () in out or len(found) > MAX_PROBLEMS:
            break
        for place in out:
            _leave_out(rest, place, stand_ins)
        removed |= out
    return Salvaged(model=None, problems=tuple(truncate_problems([*found.values()])), left_out=frozenset())


def _follows(place: Loc, told: Set[Loc]) -> bool:
    """Whether what is wrong at `place` may come from what is wrong there or below and was told."""
    return any(place == known[: len(place)] for known in told)


def _needing(place: Loc, removed: Set[Loc]) -> Loc:
    """What has to go next: `place`, or, where it was removed and is needed, the nearest that needs it."""
    while place and place in removed:
        place = place[:-1]
    return place


def _leave_out(data: Any, place: Loc, stand_ins: Mapping[Loc, Any]) -> None:
    """Remove the value at `place`, or put a stand-in there."""
    for part in place[:-1]:
        if not (isinstance(data, dict) and part in data) and not _has_index(data, part):
            return
        data = data[part]
    last = place[-1]
    stand_in = stand_ins.get(tuple(ANY if isinstance(part, int) else part for part in place))
    if isinstance(data, dict) and stand_in is None:
        data.pop(last, None)
    elif isinstance(data, dict) or _has_index(data, last):
        data[last] = copy.deepcopy(stand_in)  # null is no item of any list, so that the list goes next


def _has_index(data: Any, part: Any) -> bool:
    return isinstance(data, list) and isinstance(part, int) and part < len(data)
