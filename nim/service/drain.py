"""Draining: how the service stops without losing requests, and the servers that stop together with HTTP's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from .request_errors import unavailable

SHUTDOWN_S = 15
"""Maximum time in seconds for the requests in flight: longer than a guest may run by default and, together with the
linger, shorter than the 30 s after which Kubernetes kills a container."""

_MAX_REFUSING_S, _QUIET_S = 2.0, 0.2
_POLL_S = 0.02
_LOG = logging.getLogger(__name__)


class Drain:
    """The state of one service's drain. Except for `stopping` and `track_request`, it belongs to the thread of the
    event loop."""

    def __init__(self) -> None:
        self.stopping = False
        """Set by the first signal: the service is not ready any more, and each response closes its connection."""
        self.in_flight = 0
        """The number of requests in flight."""
        self._lock = threading.Lock()  # guards `in_flight`
        self._refuses = self._refusable = False
        self._last_refusal = 0.0
        self._servers: list[Callable[[float], Awaitable[object]]] = []
        self._stopping: asyncio.Future[Any] | None = None

    @contextlib.contextmanager
    def track_request(self, *, refusable: bool = False) -> Iterator[None]:
        """Count a request as in flight. Raises RequestError with status 503 for a `refusable` request that comes after
        `stop_servers`."""
        if refusable and self._refuses:
            self._last_refusal = time.monotonic()
            raise unavailable("the service is stopping and accepts no more requests")
        with self._lock:
            self._refusable |= refusable
            self.in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1

    def register_server(self, stop: Callable[[float], Awaitable[object]]) -> None:
        """Register the function that stops another server. It is called with the maximum time in seconds, while the
        HTTP server stops."""
        self._servers.append(stop)

    async def stop_servers(self) -> None:
        """Stop the registered servers, and wait until they have answered their requests. It can be called again."""
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop_servers())
        await asyncio.shield(self._stopping)

    async def _stop_servers(self) -> None:
        """Refuse new requests for a moment, then stop.

        When a gRPC server stops, gRPC cancels calls that have reached it but not yet Python, and a client cannot see
        why. A refusal makes the client use another server.
        """
        self._refuses, self._last_refusal = True, time.monotonic()
        until = self._last_refusal + _MAX_REFUSING_S if self._refusable and self.stopping else 0.0
        while (now := time.monotonic()) < until and now - self._last_refusal < _QUIET_S:  # noqa: ASYNC110  # for quiet
            await asyncio.sleep(_POLL_S)
        results = await asyncio.gather(*(stop(SHUTDOWN_S) for stop in self._servers), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                _LOG.error("a server failed to stop", exc_info=result)
