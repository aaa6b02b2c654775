"""Groups the requests of one execution into as few guest calls as their shapes allow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .validation import Arrays

Pieces = Sequence[np.ndarray]  # one input, cut along axis 0: an array from each request


@dataclass(slots=True)
class Job:
    """One request that passed its checks: where its result goes, its arrays, and its time limit in seconds. `rows` are
    those that it has in a group."""

    index: int
    arrays: Arrays
    timeout_s: float
    rows: int = 0


@dataclass(slots=True)
class Group:
    """Requests that run in one guest call, joined along axis 0."""

    timeout_s: float
    jobs: list[Job] = field(default_factory=list)
    rows: int = 0

    def pieces(self) -> list[Pieces | None]:
        """For each input the arrays of the requests, in order; None for an absent optional input."""
        columns: Iterable[tuple[Any, ...]] = zip(*(job.arrays for job in self.jobs))
        return [None if column[0] is None else list(column) for column in columns]


def pieces_of(arrays: Arrays) -> list[Pieces | None]:
    """The pieces of a single request."""
    return [None if array is None else [array] for array in arrays]


def joined(pieces: Sequence[Pieces | None]) -> Arrays:
    """Each input's pieces as one array."""
    return [None if p is None else p[0] if len(p) == 1 else np.concatenate(p) for p in pieces]


def alone(job: Job) -> Group:
    """A group of one."""
    return Group(job.timeout_s, [job])


def group(jobs: list[Job], most_rows: int, cores: Sequence[int] | None) -> list[Group]:
    """`jobs` in groups of equal trailing shapes, optional inputs and time limits, of at most `most_rows` rows.

    `cores` are the numbers of core dimensions of the inputs of a convention that broadcasts (elementwise, gufunc). Its
    rows are axis 0 of every input, where that is a loop dimension that all inputs share.
    """
    groups: list[Group] = []
    open_groups: dict[tuple[object, ...], Group] = {}
    for job in jobs:
        rows = _rows(job.arrays) if cores is None else _common_rows(job.arrays, cores)
        if rows is None:
            groups.append(alone(job))
            continue
        key = (job.timeout_s, *(None if a is None else a.shape[1:] for a in job.arrays))
        current = open_groups.get(key)
        if current is None or current.rows + rows > most_rows:
            current = open_groups[key] = Group(job.timeout_s)
            groups.append(current)
        job.rows = rows
        current.jobs.append(job)
        current.rows += rows
    return groups


def _rows(arrays: Arrays) -> int | None:
    """The rows that all arrays have; None where they have not, which is the adapter's to say."""
    counts = {len(array) if array.ndim else -1 for array in arrays if array is not None}
    rows = counts.pop() if len(counts) == 1 else 1 if not counts else -1
    return rows if rows >= 0 else None


def _common_rows(arrays: Arrays, cores: Sequence[int]) -> int | None:
    given = [(array, core) for array, core in zip(arrays, cores) if array is not None]
    if not shares_rows([array for array, _ in given], [core for _, core in given]):
        return None
    sizes = {array.shape[0] for array, _ in given}
    return sizes.pop() if len(sizes) == 1 else None


def shares_rows(arrays: Sequence[np.ndarray], cores: Sequence[int]) -> bool:
    """Whether axis 0 is the same loop dimension in all `arrays`: all have equally many of them, and one at least."""
    loops = {array.ndim - core for array, core in zip(arrays, cores)}
    return len(loops) == 1 and loops.pop() >= 1


def split(outputs: list[np.ndarray], jobs: list[Job]) -> list[list[np.ndarray]]:
    """The outputs of a group cut back into each job's rows (views)."""
    return [outputs] if len(jobs) == 1 else cut(outputs, [job.rows for job in jobs])


def cut(outputs: list[np.ndarray], rows: Sequence[int]) -> list[list[np.ndarray]]:
    """`outputs` cut along axis 0 into pieces of `rows` (views)."""
    result, at = [], 0
    for count in rows:
        result.append([output[at : at + count] for output in outputs])
        at += count
    return result
