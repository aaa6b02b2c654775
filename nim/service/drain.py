"""Whether the service stops, what still works in it, and the other servers that end with HTTP's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

SHUTDOWN_S = 15
"""Longer than a guest may run by default, and with the linger shorter than the 30 s after which Kubernetes kills."""

_LOG = logging.getLogger(__name__)


class Drain:
    """One per service. Everything but `stopping` belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.stopping = False
        """Set by the first signal: not ready any more, each answer ends its connection."""
        self.in_flight = 0
        self._others: list[Callable[[float], Awaitable[object]]] = []
        self._ending: asyncio.Future[Any] | None = None

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """A request is worked on."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def also(self, stop: Callable[[float], Awaitable[object]]) -> None:
        """Let `stop`, given a limit in seconds, end another server gracefully while HTTP's ends."""
        self._others.append(stop)

    async def end_others(self) -> None:
        """Wait until the other servers have answered what they have. It may be called again."""
        if self._ending is None:
            self._ending = asyncio.gather(*(stop(SHUTDOWN_S) for stop in self._others), return_exceptions=True)
        for failure in await self._ending:
            if isinstance(failure, BaseException):
                _LOG.error("a server did not end well", exc_info=failure)
