"""Validates data as a model. Invalid values are removed, so that the rest can be checked too."""

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

ModelT = TypeVar("ModelT", bound=BaseModel)
ANY: Final = "[]"
"""Any index, in the location of a stand-in."""
_ROUNDS = 64  # each removes something; no data is nested that deeply


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvaged(Generic[ModelT]):
    """The `model`, or None if none is valid; the problems; and the locations of removed values."""

    model: ModelT | None
    problems: tuple[Problem, ...]
    removed: frozenset[str]


def salvage(
    model: type[ModelT], data: Mapping[Any, Any], stand_ins: Mapping[Loc, Any], *, source: str
) -> Salvaged[ModelT]:
    """`data` as `model`. Invalid values are removed, and the rest is validated again.

    `stand_ins` has values for locations that must not be empty. Raises InputProblems, about `source`, for huge data.
    """
    plain = PlainData(data, source=source)
    rest, found = plain.data, plain.problems
    removed: set[Loc] = set()
    for _ in range(_ROUNDS):
        try:
            validated = model.model_validate_json(json.dumps(rest))
        except ValidationError as error:
            problems = explain_validation_errors(error.errors(include_url=False), model, rest)
        else:
            gone = frozenset(map(loc_text, removed | found.keys()))
            return Salvaged(model=validated, problems=tuple(found.values()), removed=gone)
        known = removed | found.keys()
        new = {loc for loc in problems if not _follows(loc, known)}
        found |= {loc: problems[loc] for loc in problems if loc in new and not _follows(loc, new - {loc})}
        next_removed = {_nearest_present(loc, removed) for loc in problems}
        if () in next_removed or len(found) > MAX_PROBLEMS:
            break
        for loc in next_removed:
            _remove(rest, loc, stand_ins)
        removed |= next_removed
    return Salvaged(model=None, problems=tuple(truncate_problems([*found.values()])), removed=frozenset())


def _follows(loc: Loc, reported: Set[Loc]) -> bool:
    """Whether a problem at `loc` can be the result of a problem that was reported there or below."""
    return any(loc == known[: len(loc)] for known in reported)


def _nearest_present(loc: Loc, removed: Set[Loc]) -> Loc:
    """The location to remove next: `loc`, or if it was removed but is required, the nearest value around it."""
    while loc and loc in removed:
        loc = loc[:-1]
    return loc


def _remove(data: Any, loc: Loc, stand_ins: Mapping[Loc, Any]) -> None:
    """Remove the value at `loc`, or replace it by a stand-in."""
    for part in loc[:-1]:
        if not (isinstance(data, dict) and part in data) and not _has_index(data, part):
            return
        data = data[part]
    last = loc[-1]
    stand_in = stand_ins.get(tuple(ANY if isinstance(part, int) else part for part in loc))
    if isinstance(data, dict) and stand_in is None:
        data.pop(last, None)
    elif isinstance(data, dict) or _has_index(data, last):
        data[last] = copy.deepcopy(stand_in)  # no list accepts null, so that the list is removed next


def _has_index(data: Any, part: Any) -> bool:
    return isinstance(data, list) and isinstance(part, int) and part < len(data)
