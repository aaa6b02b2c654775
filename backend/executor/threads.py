"""Runs the parts of a batch side by side on threads: ctypes and NumPy's copies release the GIL, so guests in separate
stores run together."""

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

MIN_PART_BYTES = 128 << 10  # of the inputs of one part, where the host loops: less is not worth a thread
T = TypeVar("T")
R = TypeVar("R")


def split_range(size: int, parts: int, least: int = 1) -> list[tuple[int, int]]:
    """[0, size) cut into at most `parts` ranges of nearly equal length, none shorter than `least` but the only one."""
    parts = max(1, min(parts, size // max(least, 1)))
    bounds = [size * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(bounds))


class GuestThreads:
    """``count`` threads, the caller's included; threads start at the first call that has work for them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count - 1, thread_name_prefix="wasm") if count > 1 else None

    def each(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """``[function(item) for item in items]``, the items side by side. The first error is raised after all ended,
        so that nothing still writes into the caller's arrays."""
        if self._pool is None or len(items) <= 1:
            return [function(item) for item in items]
        futures = [self._pool.submit(function, item) for item in items[1:]]
        try:
            first = function(items[0])
        finally:
            for future in futures:
                future.exception()  # waits
        return [first, *(future.result() for future in futures)]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


class ThreadedExecutor:
    """Cuts the calls of an executor along axis 0 into as many parts as there are `workers`, each with an instance of
    its own."""

    def __init__(self, executor: Executor, interface: Interface, workers: GuestThreads) -> None:
        self._executor = executor
        self._interface = interface
        self._workers = workers
        self._exact = is_exact(interface)
        self._cores = core_ranks(interface)

    def run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool = False) -> list[np.ndarray]:
        """As `Executor.run`. Raises AbiViolation where the parts' outputs do not fit together."""
        arrays = join_pieces(inputs)
        cuts = self._cuts(arrays)
        parts = self._parts([array for array, cut in zip(arrays, cuts) if cut and array is not None])
        if len(parts) < 2:
            return self._executor.run(inputs, deadline, borrow)

        def part(span: tuple[int, int]) -> list[np.ndarray]:
            own = [a[slice(*span)] if cut and a is not None else a for a, cut in zip(arrays, cuts)]
            return self._executor.run(single_pieces(own), deadline)

        results = self._workers.each(part, parts)
        return [self._together(i, [result[i] for result in results]) for i in range(len(self._interface.outputs))]

    def _cuts(self, arrays: Arrays) -> list[bool]:
        """Which arrays are cut: where tensors broadcast, those that have all the loop dimensions, and more than one
        item in the first."""
        if self._exact:
            return [self._interface.max_batch_size > 0] * len(arrays)
        loops = [0 if array is None else array.ndim - core for array, core in zip(arrays, self._cores)]
        return [a is not None and n == max(loops) > 0 and len(a) > 1 for a, n in zip(arrays, loops)]

    def _parts(self, cut: Sequence[np.ndarray]) -> list[tuple[int, int]]:
        """The rows of each part, if all arrays that are `cut` have the same number of them."""
        counts = {len(array) if array.ndim else 0 for array in cut}
        rows = counts.pop() if len(counts) == 1 else 0
        if self._exact or not rows:
            return split_range(rows, self._workers.count)
        row_bytes = sum(array.nbytes for array in cut) // rows
        return split_range(rows, self._workers.count, -(-MIN_PART_BYTES // max(row_bytes, 1)))

    def _together(self, number: int, parts: list[np.ndarray]) -> np.ndarray:
        if len({part.shape[1:] for part in parts}) > 1:
            raise AbiViolation(
                f"output '{self._interface.outputs[number].name}' has another shape in each part of the batch"
                f" ({[list(p.shape) for p in parts]}): set wasm.threads to 1 for a module whose output shape depends on"
                " the whole batch"
            )
        return np.concatenate(parts)
