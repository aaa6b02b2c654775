"""From a spec file to a `PackageSpec`: every problem that the file alone shows is told at once."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..problems import InputProblems, Problem
from .documents import read_document
from .explain import Place, explain, place_text
from .package import PackageSpec
from .paths import absolute
from .rules import rules

_ROUNDS = 8
# what stands in for a required value that is wrong, so that the rest can still be checked
_STAND_INS: dict[str, Any] = {"package_name": "unnamed", "package_version": "0.0.0", "output_directory": "."}


def read_spec(path: Path) -> PackageSpec:
    """The spec in a TOML, YAML or JSON file, its paths absolute from the file's folder.

    Raises UsageError for a file that cannot be read, InputProblems with everything that is wrong in it.
    """
    return make_spec(read_document(path), base=path.absolute().parent, source=str(path))


def make_spec(data: dict[str, Any], *, base: Path, source: str) -> PackageSpec:
    """The spec that `data` describes; relative paths start at `base`, and errors call it `source`.

    Raises InputProblems.
    """
    spec, problems, left_out = _validate(data)
    if spec is not None:
        spec = absolute(spec, base)
        problems += [problem for problem in rules(spec) if problem.where not in left_out]
    if problems or spec is None:
        raise InputProblems(problems, source=source)
    return spec


def _validate(data: dict[str, Any]) -> tuple[PackageSpec | None, list[Problem], set[str]]:
    """The spec as far as it can be had, what is wrong, and where something was left out for it.

    What is wrong is taken out, and the rest is tried again, so that the rules can look at it too."""
    data, found, removed = copy.deepcopy(data), dict[Place, Problem](), set[Place]()
    for _ in range(_ROUNDS):
        try:
            spec = PackageSpec.model_validate_json(json.dumps(data))
        except ValidationError as error:
            placed = explain(error.errors(include_url=False), PackageSpec, data)
        else:
            return spec, list(found.values()), {place_text(place) for place in removed}
        for place, problem in placed:
            if not any(place == known[: len(place)] for known in removed):
                found[place] = problem
            gone = place
            while gone in removed:  # it is needed there, so what needs it goes as well
                gone = gone[:-1]
            removed.add(gone)
            _leave_out(data, gone)
    return None, list(found.values()), set()


def _leave_out(data: Any, place: Place) -> None:
    """Remove the value at `place`, or put a stand-in where a value is required at the top."""
    for part in place[:-1]:
        if not isinstance(data, (dict, list)) or (isinstance(data, dict) and part not in data):
            return
        data = data[part]  # type: ignore[index]
    last = place[-1] if place else None
    if last in _STAND_INS and len(place) == 1:
        data[last] = _STAND_INS[str(last)]
    elif isinstance(data, dict):
        data.pop(last, None)
    elif isinstance(data, list) and isinstance(last, int) and last < len(data):
        data[last] = None
