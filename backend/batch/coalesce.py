"""Groups the requests of one execution into as few guest calls as their shapes allow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .request_checks import Arrays

Pieces = Sequence[np.ndarray]  # one input, cut along axis 0: an array from each request


@dataclass(slots=True)
class BatchItem:
    """One request that passed its checks: where its result goes, its arrays, and its time limit in seconds. `rows` are
    those that it has in a group."""

    index: int
    arrays: Arrays
    timeout_s: float
    rows: int = 0


Group = list[BatchItem]  # that run in one guest call, joined along axis 0


def single_pieces(arrays: Arrays) -> list[Pieces | None]:
    """The pieces of a single request."""
    return [None if array is None else [array] for array in arrays]


def item_pieces(group: Group) -> list[Pieces | None]:
    """For each input the arrays of the requests, in order; None for an absent optional input."""
    columns: Iterable[tuple[Any, ...]] = zip(*(job.arrays for job in group))
    return [None if column[0] is None else list(column) for column in columns]


def join_pieces(pieces: Sequence[Pieces | None]) -> Arrays:
    """Each input's pieces as one array."""
    return [None if p is None else p[0] if len(p) == 1 else np.concatenate(p) for p in pieces]


def group_items(jobs: Sequence[BatchItem], most_rows: int, cores: Sequence[int] | None) -> list[Group]:
    """`jobs` in groups of equal trailing shapes, optional inputs and time limits, of at most `most_rows` rows.

    `cores` are the numbers of core dimensions of the inputs of a convention that broadcasts (elementwise, gufunc). Its
    rows are axis 0 of every input, where that is a loop dimension that all inputs share.
    """
    groups: list[Group] = []
    last: dict[tuple[object, ...], tuple[Group, int]] = {}  # that was begun for a key, and its rows
    for job in jobs:
        rows = _rows(job.arrays, cores)
        if rows is None:
            groups.append([job])
            continue
        key = (job.timeout_s, *(None if a is None else a.shape[1:] for a in job.arrays))
        current, taken = last.get(key, (None, 0))
        if current is None or taken + rows > most_rows:
            current, taken = [], 0
            groups.append(current)
        job.rows = rows
        current.append(job)
        last[key] = current, taken + rows
    return groups


def _rows(arrays: Arrays, cores: Sequence[int] | None) -> int | None:
    """The rows that all arrays have; None where they have not, which is the adapter's to say."""
    if cores is not None:
        loops = {array.ndim - core for array, core in zip(arrays, cores) if array is not None}
        if len(loops) != 1 or loops.pop() < 1:
            return None
    counts = {len(array) if array.ndim else None for array in arrays if array is not None} or {1}
    return counts.pop() if len(counts) == 1 else None


def split_outputs(outputs: list[np.ndarray], group: Group) -> list[list[np.ndarray]]:
    """The outputs of a group cut along axis 0 into each job's rows (views)."""
    if len(group) == 1:
        return [outputs]
    result, at = [], 0
    for job in group:
        result.append([output[at : at + job.rows] for output in outputs])
        at += job.rows
    return result
