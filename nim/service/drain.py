"""Whether the service stops, what still works in it, and the other servers that end with HTTP's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from .request_errors import unavailable

SHUTDOWN_S = 15
"""Longer than a guest may run by default, and with the linger shorter than the 30 s after which Kubernetes kills."""

_REFUSING_S, _QUIET_S = 2.0, 0.2
_LOG = logging.getLogger(__name__)


class Drain:
    """One per service. Everything but `stopping` belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.stopping = False
        """Set by the first signal: not ready any more, each answer ends its connection."""
        self.in_flight = 0
        self._refuses = self._refusable = False
        self._refused_at = 0.0
        self._others: list[Callable[[float], Awaitable[object]]] = []
        self._ending: asyncio.Future[Any] | None = None

    @contextlib.contextmanager
    def track_request(self, *, refusable: bool = False) -> Iterator[None]:
        """Count a request as in flight. Raises RequestError with status 503 for a `refusable` request that comes after
        `stop_servers`."""
        if refusable and self._refuses:
            self._refused_at = time.monotonic()
            raise unavailable("the service stops, and takes no more requests")
        self._refusable |= refusable
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def register_server(self, stop: Callable[[float], Awaitable[object]]) -> None:
        """Let `stop`, given a limit in seconds, end another server gracefully while HTTP's ends."""
        self._others.append(stop)

    async def stop_servers(self) -> None:
        """Wait until the other servers have answered what they have. It may be called again."""
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._stop_servers())
        await asyncio.shield(self._ending)

    async def _stop_servers(self) -> None:
        """First refuse what comes, for a moment: gRPC cancels what has reached a server that ends and not yet Python,
        which tells a client nothing, while a refusal makes it go elsewhere."""
        self._refuses, self._refused_at = True, time.monotonic()
        until = self._refused_at + _REFUSING_S if self._refusable and self.stopping else 0.0
        while (now := time.monotonic()) < until and now - self._refused_at < _QUIET_S:  # noqa: ASYNC110  # for quiet
            await asyncio.sleep(0.02)
        ended = await asyncio.gather(*(stop(SHUTDOWN_S) for stop in self._others), return_exceptions=True)
        for failure in ended:
            if isinstance(failure, BaseException):
                _LOG.error("a server did not end well", exc_info=failure)
