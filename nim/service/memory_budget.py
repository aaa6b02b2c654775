"""A budget for the memory of all requests in flight, and the return of freed memory to the operating system."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from types import TracebackType

FREE_BYTES = 1 << 16
"""Bytes of each request that are not counted, so that small requests pass regardless of large ones. Their number is
bounded by the number of connections."""
_TRIM_BYTES = 32 << 20  # peak use from which on memory is returned to the operating system
_TRIM_AFTER_S = 0.5  # the last reference to a body is dropped a little later than its share


class MemoryBudget:
    """A maximum of `max_bytes` for all requests of a service. Any thread can use it."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used = self._peak = 0
        self.lock = threading.Lock()

    def share(self) -> MemoryShare:
        """The share of one request, 0 bytes at first."""
        return MemoryShare(self)

    def release(self, size: int) -> None:
        """Return `size` bytes to the budget. When a large budget is unused again, the memory that the allocator still
        holds is returned to the operating system."""
        with self.lock:
            self._peak = max(self._peak, self.used)
            self.used -= size
            trims = not self.used and self._peak >= _TRIM_BYTES
            if trims:
                self._peak = 0
        if trims and (trim := malloc_trim()) is not None:
            timer = threading.Timer(_TRIM_AFTER_S, trim, [0])
            timer.daemon = True
            timer.start()


class MemoryShare:
    """The bytes of one request, released at the end of the ``with`` block."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget, self._size = budget, 0

    def reserve(self, size: int) -> bool:
        """Grow the share to `size` bytes in total. Returns False if the budget does not allow that."""
        more = size - FREE_BYTES - self._size
        if more > 0:
            budget = self._budget
            with budget.lock:
                # a single request is bounded by its own limit
                if budget.used > self._size and budget.used + more > budget.max_bytes:
                    return False
                self._size += more
                budget.used += more
        return True

    def release(self) -> None:
        """Release the whole share."""
        size, self._size = self._size, 0
        if size:
            self._budget.release(size)

    def __enter__(self) -> MemoryShare:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def malloc_trim() -> Callable[[int], int] | None:
    """The function ``malloc_trim`` of glibc; None on other systems, whose allocators return memory on their own."""
    if not sys.platform.startswith("linux"):
        return None
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim
