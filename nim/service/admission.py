"""Admission of HTTP connections: their number is limited, and a health probe always gets a connection.

At the limit, a new connection replaces an idle one: first those that have never sent a request, then those that wait
for their next request, the longest idle first. If all are busy, a reserve of connections may request health; their
other requests are rejected with status 503.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection
from typing import Any, Protocol

from .request_errors import RequestError, unavailable
from .settings import ServiceSettings

MAX_HEADERS = 200
"""Maximum number of header lines of a request."""
RESERVE = 64
"""Number of connections above the limit, for health requests only."""
_FILES_SHARE = 0.45  # of the open files that the process may have; gRPC's connections use as many
_MIN_CONNECTIONS = 8
# requested every few seconds by whatever monitors the service
_PROBES = frozenset(
    f"{start}/{name}" for start in ("/v1/health", "/v2/health", "") for name in ("live", "ready", "health")
) | {"/metrics", "/v1/metrics"}


class AdmittedConnection(Protocol):
    """The part of a connection that admission uses."""

    loop: asyncio.AbstractEventLoop
    transport: Any
    reserved: bool
    """Whether the connection belongs to the reserve, and may request health only."""

    def check(self, now: float) -> None:
        """Close the connection if one of its timers has expired; `now` is the loop's time."""


def probe_paths(settings: ServiceSettings) -> frozenset[str]:
    """The paths of health and metrics, which monitoring requests regularly."""
    return _PROBES | {settings.health_check_endpoint}


def allowed_connections(requested: int) -> int:
    """`requested`, or as many connections as the limit of open files leaves to one of the two protocols."""
    if sys.platform == "win32":
        return requested
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return requested
    return max(_MIN_CONNECTIONS, min(requested, int(files * _FILES_SHARE) - RESERVE))


class Admission:
    """The connections of one service and their limits. It belongs to one event loop."""

    max_headers = MAX_HEADERS

    def __init__(
        self, settings: ServiceSettings, probes: Collection[str], count_refused: Callable[[str], None]
    ) -> None:
        self.count_refused = count_refused
        """Counts a connection that the service ends, by reason (`metrics.REFUSALS`)."""
        self.max_header_bytes = settings.max_header_bytes
        self.header_timeout_s = settings.header_timeout_s
        self.write_timeout_s = settings.body_timeout_s
        self.max_connections = allowed_connections(settings.max_connections)
        self._probes = frozenset(path.encode() for path in probes)
        self._all: set[AdmittedConnection] = set()
        # idle connections without and with an earlier request, the longest idle first
        self._unused: dict[AdmittedConnection, None] = {}
        self._idle: dict[AdmittedConnection, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: AdmittedConnection) -> None:
        """Admit a new connection: in place of an idle one, or as one of the reserve. Abort it if neither is
        possible."""
        self._all.add(connection)
        self._unused[connection] = None
        if self._timer is None:
            self._timer = connection.loop.call_later(self._interval_s(), self._check, connection.loop)
        if len(self._all) <= self.max_connections:
            return
        oldest = next(iter(self._unused))
        if oldest is connection:
            oldest = next(iter(self._idle), connection)
        if oldest is not connection:
            self.mark_busy(oldest)
            self.count_refused("idle")
            oldest.transport.abort()
        elif len(self._all) <= self.max_connections + RESERVE:
            connection.reserved = True
        else:
            self.count_refused("503")
            connection.transport.abort()

    def remove(self, connection: AdmittedConnection) -> None:
        """Forget a closed connection."""
        self._all.discard(connection)
        self.mark_busy(connection)

    def mark_idle(self, connection: AdmittedConnection) -> None:
        """Note that `connection` waits for its client's next request."""
        self._idle[connection] = None

    def mark_busy(self, connection: AdmittedConnection) -> None:
        """Note that `connection` has a request in flight, or is about to be closed."""
        self._unused.pop(connection, None)
        self._idle.pop(connection, None)

    def is_for_probes_only(self, target: bytes) -> bool:
        """Whether a connection of the reserve may not request `target`, which is not a probe."""
        return len(self._all) > self.max_connections and target.partition(b"?")[0] not in self._probes

    def too_many_connections(self) -> RequestError:
        """The error for other requests on a connection of the reserve."""
        return unavailable(
            f"the service has {self.max_connections} connections, its limit (max_connections); retry later"
        )

    def _interval_s(self) -> float:
        return min(1.0, self.header_timeout_s / 4, self.write_timeout_s / 4)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self._all):
            connection.check(now)
        self._timer = loop.call_later(self._interval_s(), self._check, loop) if self._all else None
