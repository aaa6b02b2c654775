"""Runs the parts of a batch in parallel on threads.

ctypes and NumPy's copies release the GIL, so guests in separate stores run concurrently.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from ..batch.coalesce import Pieces, join_pieces, single_pieces
from ..batch.request_checks import Arrays, is_exact
from ..errors import AbiViolation
from ..interface.interface import Interface, core_ranks
from .executor import Deadline, Executor

MIN_PART_BYTES = 128 << 10
"""Minimum size of the inputs of one part if the host loops over them: less is not worth a thread."""
T = TypeVar("T")
R = TypeVar("R")


def split_range(size: int, parts: int, min_length: int = 1) -> list[tuple[int, int]]:
    """[0, size) in at most `parts` ranges of nearly equal length, none shorter than `min_length` except a single
    one."""
    parts = max(1, min(parts, size // max(min_length, 1)))
    bounds = [size * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(bounds))


class GuestThreads:
    """A pool of ``count`` threads, the caller's included. A thread starts with the first work for it."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count - 1, thread_name_prefix="wasm") if count > 1 else None

    def each(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """``[function(item) for item in items]``, computed in parallel.

        The first error is raised after all items have ended, so that no thread still writes into the caller's arrays.
        """
        if self._pool is None or len(items) <= 1:
            return [function(item) for item in items]
        futures = [self._pool.submit(function, item) for item in items[1:]]
        try:
            first = function(items[0])
        finally:
            for future in futures:
                future.exception()  # waits for the item
        return [first, *(future.result() for future in futures)]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


class ThreadedExecutor:
    """Splits the calls of an executor along axis 0 into up to one part per thread, each with its own instance."""

    def __init__(self, executor: Executor, interface: Interface, workers: GuestThreads) -> None:
        self._executor = executor
        self._interface = interface
        self._workers = workers
        self._exact = is_exact(interface)
        self._cores = core_ranks(interface)

    def run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool = False) -> list[np.ndarray]:
        """Implements `Executor.run`. Raises AbiViolation if the outputs of the parts have different shapes."""
        arrays = join_pieces(inputs)
        cuts = self._cuts(arrays)
        parts = self._parts([array for array, cut in zip(arrays, cuts) if cut and array is not None])
        if len(parts) < 2:
            return self._executor.run(inputs, deadline, borrow)

        def part(span: tuple[int, int]) -> list[np.ndarray]:
            own = [a[slice(*span)] if cut and a is not None else a for a, cut in zip(arrays, cuts)]
            return self._executor.run(single_pieces(own), deadline)

        results = self._workers.each(part, parts)
        return [self._concatenate(i, [result[i] for result in results]) for i in range(len(self._interface.outputs))]

    def _cuts(self, arrays: Arrays) -> list[bool]:
        """Whether each array is split. If tensors broadcast, only arrays with all loop dimensions and more than one
        item in the first are."""
        if self._exact:
            return [self._interface.max_batch_size > 0] * len(arrays)
        loops = [0 if array is None else array.ndim - core for array, core in zip(arrays, self._cores)]
        return [a is not None and n == max(loops) > 0 and len(a) > 1 for a, n in zip(arrays, loops)]

    def _parts(self, cut: Sequence[np.ndarray]) -> list[tuple[int, int]]:
        """The row range of each part; a single range if the arrays to `cut` have different numbers of rows."""
        counts = {len(array) if array.ndim else 0 for array in cut}
        rows = counts.pop() if len(counts) == 1 else 0
        if self._exact or not rows:
            return split_range(rows, self._workers.count)
        row_bytes = sum(array.nbytes for array in cut) // rows
        return split_range(rows, self._workers.count, -(-MIN_PART_BYTES // max(row_bytes, 1)))

    def _concatenate(self, number: int, parts: list[np.ndarray]) -> np.ndarray:
        if len({part.shape[1:] for part in parts}) > 1:
            raise AbiViolation(
                f"output '{self._interface.outputs[number].name}' has a different shape in each part of the batch"
                f" ({[list(p.shape) for p in parts]}): set wasm.threads to 1 for a module whose output shape depends on"
                " the entire batch"
            )
        return np.concatenate(parts)
