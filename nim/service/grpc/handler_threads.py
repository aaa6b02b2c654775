"""The threads that handle unary calls."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

_LOG = logging.getLogger(__name__)


class HandlerThreads:
    """A pool of at most `limit` threads, started as needed. gRPC uses it like a ThreadPoolExecutor, but needs no
    results: without them, a call costs several microseconds less.

    A call beyond the limit waits for a thread.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._calls: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._count = 0
        self._free = 0  # idle threads, less the calls that wait for one

    def submit(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Run ``call(*arguments)`` in a thread."""
        with self._lock:
            self._free -= 1
            starts = self._free < 0 and self._count < self._limit()
            if starts:
                self._free += 1
                self._count += 1
        self._calls.put((call, arguments))
        if starts:
            threading.Thread(target=self._work, name=f"gRPC {self._count}", daemon=True).start()

    def close(self) -> None:
        """End the threads after the calls that were submitted."""
        for _ in range(self._count):
            self._calls.put(None)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            call, arguments = item
            try:
                call(*arguments)
            except Exception:  # noqa: BLE001  # otherwise the pool would lose a thread
                _LOG.exception("a call over gRPC: internal error")
            item = call = arguments = None  # type: ignore[assignment]  # an idle thread refers to no request
            with self._lock:
                self._free += 1
