"""Splits a batch over threads: ctypes and NumPy's copies release the GIL, so guests in separate stores run together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def spans(size: int, parts: int, least: int = 1) -> list[tuple[int, int]]:
    """[0, size) cut into at most `parts` ranges of nearly equal length, none shorter than `least` but the only one."""
    parts = max(1, min(parts, size // max(least, 1)))
    bounds = [size * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(bounds))


class Workers:
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
