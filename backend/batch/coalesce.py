"""Groups the requests of one execution into as few guest calls as their shapes allow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .request_checks import Arrays

Pieces = Sequence[np.ndarray]
"""One input in pieces along axis 0: an array from each request."""


@dataclass(slots=True)
class BatchItem:
    """One request that passed its checks: its index in the batch, its arrays and its time limit."""

    index: int
    arrays: Arrays
    timeout_s: float
    rows: int = 0
    """Number of rows, if it shares a group with others."""


Group = list[BatchItem]
"""Requests of one guest call, joined along axis 0."""


def single_pieces(arrays: Arrays) -> list[Pieces | None]:
    """The pieces of a single request."""
    return [None if array is None else [array] for array in arrays]


def item_pieces(group: Group) -> list[Pieces | None]:
    """The pieces of each input, one per request; None for an absent optional input."""
    columns: Iterable[tuple[Any, ...]] = zip(*(item.arrays for item in group))
    return [None if column[0] is None else list(column) for column in columns]


def join_pieces(pieces: Sequence[Pieces | None]) -> Arrays:
    """Each input as one array, its pieces joined along axis 0."""
    return [None if p is None else p[0] if len(p) == 1 else np.concatenate(p) for p in pieces]


def group_items(items: Sequence[BatchItem], max_rows: int, cores: Sequence[int] | None) -> list[Group]:
    """`items` in groups of equal trailing shapes, optional inputs and time limits, with at most `max_rows` rows each.

    `cores` is None, or the number of core dimensions of each input of a convention that broadcasts (elementwise,
    gufunc). Then rows are axis 0 of every input, if that is a loop dimension shared by all inputs.
    """
    groups: list[Group] = []
    last: dict[tuple[object, ...], tuple[Group, int]] = {}  # the newest group of a key, and its rows
    for item in items:
        rows = _rows(item.arrays, cores)
        if rows is None:
            groups.append([item])
            continue
        key = (item.timeout_s, *(None if a is None else a.shape[1:] for a in item.arrays))
        current, count = last.get(key, (None, 0))
        if current is None or count + rows > max_rows:
            current, count = [], 0
            groups.append(current)
        item.rows = rows
        current.append(item)
        last[key] = current, count + rows
    return groups


def _rows(arrays: Arrays, cores: Sequence[int] | None) -> int | None:
    """The number of rows of all arrays; None if they differ, which the adapter reports."""
    if cores is not None:
        loops = {array.ndim - core for array, core in zip(arrays, cores) if array is not None}
        if len(loops) != 1 or loops.pop() < 1:
            return None
    counts = {len(array) if array.ndim else None for array in arrays if array is not None} or {1}
    return counts.pop() if len(counts) == 1 else None


def split_outputs(outputs: list[np.ndarray], group: Group) -> list[list[np.ndarray]]:
    """The outputs of each request of a group: views along axis 0."""
    if len(group) == 1:
        return [outputs]
    result, at = [], 0
    for item in group:
        result.append([output[at : at + item.rows] for output in outputs])
        at += item.rows
    return result
