"""The memory that requests may take together, and giving it back to the system."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from types import TracebackType

FREE_BYTES = 1 << 16
"""Of each request so much is not counted, so that small requests pass whatever large ones do; their number is bounded
by that of the connections."""
_TRIM_BYTES = 32 << 20
_TRIM_AFTER_S = 0.5  # the last owner of a body drops it a little later than its share


class MemoryBudget:
    """`most` bytes for all requests of a service. Any thread may use it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = self._peak = 0
        self.lock = threading.Lock()

    def share(self) -> MemoryShare:
        """What one request takes of it."""
        return MemoryShare(self)

    def release(self, size: int) -> None:
        """`size` bytes are free again. After much was used, what the allocator kept is given back to the system."""
        with self.lock:
            self._peak = max(self._peak, self.used)
            self.used -= size
            much = not self.used and self._peak >= _TRIM_BYTES
            if much:
                self._peak = 0
        if much and (trim := malloc_trim()) is not None:
            timer = threading.Timer(_TRIM_AFTER_S, trim, [0])
            timer.daemon = True
            timer.start()


class MemoryShare:
    """The bytes of one request: `take` them, and leave the ``with`` block when they are free."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget, self._size = budget, 0

    def take(self, size: int) -> bool:
        """Whether the request may have `size` bytes in all."""
        more = size - FREE_BYTES - self._size
        if more > 0:
            budget = self._budget
            with budget.lock:
                # one request alone is bounded by its own limit
                if budget.used > self._size and budget.used + more > budget.most:
                    return False
                self._size += more
                budget.used += more
        return True

    def drop(self) -> None:
        """Give everything back."""
        size, self._size = self._size, 0
        if size:
            self._budget.release(size)

    def __enter__(self) -> MemoryShare:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()


def malloc_trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim; other allocators give memory back by themselves."""
    if not sys.platform.startswith("linux"):
        return None
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim
