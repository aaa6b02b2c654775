"""The table."""

from __future__ import annotations

from functools import cache

from tests.backend.cases import bad, good, hosts, own_loops, state
from tests.backend.cases.case import Case

PARTS = {"good": good, "bad": bad, "state": state, "own loops": own_loops, "hosts": hosts}


@cache
def part(name: str) -> tuple[Case, ...]:
    """The rows of a part. They are made when they are needed, and not when tests are collected: it takes seconds."""
    return tuple(PARTS[name].cases())


def table() -> dict[str, Case]:
    """All rows, by name."""
    return {case.name: case for name in PARTS for case in part(name)}
