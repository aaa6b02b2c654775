"""Rows in which each pair of factors' levels occurs that can occur at all: far fewer than the whole product."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence

Row = dict[str, str]


def possible(factors: Mapping[str, Sequence[str]], valid: Callable[[Row], bool]) -> list[Row]:
    """The whole product, without the rows that make no sense."""
    found = (dict(zip(factors, levels)) for levels in itertools.product(*factors.values()))
    return [row for row in found if valid(row)]


def pairs(row: Row) -> frozenset[tuple[tuple[str, str], ...]]:
    """The pairs of levels in a row."""
    return frozenset(itertools.combinations(row.items(), 2))


def rows(factors: Mapping[str, Sequence[str]], valid: Callable[[Row], bool]) -> list[Row]:
    """Rows with every possible pair, each chosen for the most pairs that are new; the same ones each time."""
    candidates = [(row, pairs(row)) for row in possible(factors, valid)]
    missing = set().union(*(found for _, found in candidates))
    queue = [(-len(found), i) for i, (_, found) in enumerate(candidates)]
    heapq.heapify(queue)
    chosen = []
    while missing:
        most, i = queue[0]
        row, found = candidates[i]
        new = len(found & missing)
        if new == -most:  # how many are new only sinks, so it is still the best
            missing -= found
            chosen.append(row)
        heapq.heapreplace(queue, (-len(found & missing), i))
    return chosen
