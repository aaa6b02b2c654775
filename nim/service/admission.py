"""Which HTTP connections may be there: their number is limited, and a health probe always gets one.

Idle connections give way to new ones: those that never asked anything first, then those that wait for a next request,
the oldest of each first. Where all are busy, a few more are accepted to ask for health, and all else is answered 503.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection
from typing import Any, Protocol

from .request_errors import RequestError, unavailable
from .settings import ServiceSettings

MAX_HEADERS = 200
RESERVE = 64
"""Connections above the limit, for health."""
_SHARE = 0.45  # of the open files that the process may have; gRPC's connections take as many


# requested every few seconds by whatever monitors the service
_PROBES = frozenset(
    f"{start}/{name}" for start in ("/v1/health", "/v2/health", "") for name in ("live", "ready", "health")
) | {"/metrics", "/v1/metrics"}


class AdmittedConnection(Protocol):
    """A connection, as far as its admission is concerned."""

    loop: asyncio.AbstractEventLoop
    transport: Any
    reserved: bool
    """Set for a connection above the limit, which may request health only."""

    def check(self, now: float) -> None:
        """Close the connection if one of its timers has expired; `now` is the loop's time."""


def probe_paths(settings: ServiceSettings) -> frozenset[str]:
    """The paths that whatever monitors the service requests: health and metrics."""
    return _PROBES | {settings.health_check_endpoint}


def allowed_connections(wanted: int) -> int:
    """`wanted`, or as many as the limit of open files leaves to one of the two protocols."""
    if sys.platform == "win32":
        return wanted
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if files == resource.RLIM_INFINITY else max(8, min(wanted, int(files * _SHARE) - RESERVE))


class Admission:
    """The connections of one service, with their limits. It belongs to one event loop."""

    max_headers = MAX_HEADERS

    def __init__(self, settings: ServiceSettings, probes: Collection[str], refused: Callable[[str], None]) -> None:
        self.refused = refused
        """Counts a connection that is ended, by reason."""
        self.max_header_bytes = settings.max_header_bytes
        self.header_timeout_s = settings.header_timeout_s
        self.write_timeout_s = settings.body_timeout_s
        self.most = allowed_connections(settings.max_connections)
        self._probes = frozenset(path.encode() for path in probes)
        self._all: set[AdmittedConnection] = set()
        # in the order in which they became idle
        self._fresh: dict[AdmittedConnection, None] = {}
        self._kept: dict[AdmittedConnection, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def made(self, connection: AdmittedConnection) -> None:
        """Make room for a new connection, or let it be one of the reserve."""
        self._all.add(connection)
        self._fresh[connection] = None
        if self._timer is None:
            self._timer = connection.loop.call_later(self._every_s(), self._check, connection.loop)
        if len(self._all) <= self.most:
            return
        oldest = next(iter(self._fresh))
        if oldest is connection:
            oldest = next(iter(self._kept), connection)
        if oldest is not connection:
            self.busy(oldest)
            self.refused("idle")
            oldest.transport.abort()
        elif len(self._all) <= self.most + RESERVE:
            connection.reserved = True
        else:
            self.refused("503")
            connection.transport.abort()

    def lost(self, connection: AdmittedConnection) -> None:
        """Forget a connection."""
        self._all.discard(connection)
        self.busy(connection)

    def idle(self, connection: AdmittedConnection) -> None:
        """It waits for its client."""
        self._kept[connection] = None

    def busy(self, connection: AdmittedConnection) -> None:
        """A request is worked on, or it is about to be closed."""
        self._fresh.pop(connection, None)
        self._kept.pop(connection, None)

    def is_for_probes_only(self, target: bytes) -> bool:
        """Whether a connection of the reserve is refused `target`, since it asks for no health."""
        return len(self._all) > self.most and target.partition(b"?")[0] not in self._probes

    def too_many(self) -> RequestError:
        """What is answered to all else on a connection of the reserve."""
        text = f"the service has {self.most} connections, its limit (max_connections); try again later"
        return unavailable(text)

    def _every_s(self) -> float:
        return min(1.0, self.header_timeout_s / 4, self.write_timeout_s / 4)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self._all):
            connection.check(now)
        self._timer = loop.call_later(self._every_s(), self._check, loop) if self._all else None
