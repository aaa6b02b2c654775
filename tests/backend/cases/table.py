"""The table."""

from __future__ import annotations

from functools import cache

from tests.backend.cases import bad, good, hosts, own_loops, state
from tests.backend.cases.case import Case


@cache
def table() -> dict[str, Case]:
    """All rows, by name."""
    return {case.name: case for case in (*good.cases(), *bad.cases(), *state.cases(), *own_loops.cases(), *hosts.cases())}
