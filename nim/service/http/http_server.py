"""The server: it listens, and stops without losing a request. Told to stop, the service says that it is not ready and
goes on; then it listens no more; then it answers what it has; then it ends.

What remains is a client that sends on a connection which was idle for `QUIET_S` and more, in the very moment (less than
the way there takes) in which the server closes it. HTTP/1.1 has no cure but that clients repeat such a request; a
service whose load balancer leaves it alone within `drain_s` has no such client.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import importlib.util
import logging
import os
import select
import socket
import struct
import sys
from collections.abc import AsyncIterator, Sequence
from types import FrameType
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from ..admission import Admission
from ..drain import SHUTDOWN_S, Drain
from ..service import Service
from .connections import HttpConnection

KEEP_ALIVE_S = 75
"""How long an idle connection is kept: longer than load balancers keep theirs, 60 s most often, so that it is they who
close it and no request meets a closed one."""

_LOG = logging.getLogger(__name__)
_SETTLE_S, _HANDSHAKE_S = 1.0, 0.1
_SO_ATTACH_FILTER = 26


def uvicorn_config(app: ASGIApp, admission: Admission, level: int | None, **more: Any) -> uvicorn.Config:
    """uvicorn on its fastest parts, as far as this system has them, with the limits of `admission` on connections; its
    log lines, from `level` on (None: as it is), go to this process's own handlers."""
    protocol: Any = functools.partial(HttpConnection, admission)
    return uvicorn.Config(
        app,
        http=protocol,
        loop="uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
        ws="none",
        access_log=False,
        log_config=None,
        log_level=level,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
        **more,
    )


class DrainingServer(uvicorn.Server):
    """uvicorn's server, that lingers `linger_s` seconds at most after the first signal and ends at once on a second."""

    def __init__(self, config: uvicorn.Config, drain: Drain, linger_s: float) -> None:
        super().__init__(config)
        self._drain, self._linger_s = drain, linger_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal starts the drain. Unlike uvicorn's it is not raised again at the end: a stop that was asked
        for is no failure."""
        if self._drain.stopping:
            # not the default action, which the kernel spares the first process of a container
            os._exit(128 + sig)
        self._drain.stopping = True

    async def on_tick(self, counter: int) -> bool:
        """Whether the main loop ends."""
        return await super().on_tick(counter) or self._drain.stopping

    async def main_loop(self) -> None:
        """Serve until a signal comes and the linger is over."""
        await super().main_loop()
        _LOG.info("stopping: %d requests are worked on", self._drain.in_flight)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._linger_s
        # load balancers send here until they have noticed; without a connection nobody is there to notice
        while loop.time() < until and (  # noqa: ASYNC110  # uvicorn tells of no end of a connection
            self._drain.in_flight or self.server_state.connections
        ):
            await asyncio.sleep(0.02)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen no more, close idle connections (`HttpConnection.shutdown`), answer what is there, then end the
        application."""
        await self._settle(sockets or [])
        ending = asyncio.ensure_future(self._drain.stop_servers())
        await super().shutdown(sockets)
        await ending

    async def _settle(self, listeners: Sequence[socket.socket]) -> None:
        """Until no connection waits to be accepted: closing a listener resets those that do.

        Clients that never pause would put that off for ever, so their new connections are dropped first, before they
        exist: such a client tries again by itself, and then finds nobody who listens.
        """
        loop = asyncio.get_running_loop()
        for listener in listeners:
            _drop_new_connections(listener)
        begun = loop.time()
        while hasattr(select, "poll") and loop.time() < begun + _SETTLE_S:
            unaccepted = select.poll()
            for listener in listeners:
                unaccepted.register(listener, select.POLLIN)
            # those whose handshake is half done get the time for its other half
            if not unaccepted.poll(0) and loop.time() > begun + _HANDSHAKE_S:
                return
            await asyncio.sleep(0.005)


def _drop_new_connections(listener: socket.socket) -> None:
    """Let the kernel drop each packet to `listener` that opens a connection, where it can (Linux, no privilege needed):
    without it, one that comes between the last look and the close is reset."""
    if not sys.platform.startswith("linux"):
        return
    # of the TCP header: load the flags; where SYN is among them keep nothing of the packet, else everything
    program = struct.pack("=" + "HBBI" * 4, 0x30, 0, 0, 13, 0x45, 0, 1, 0x02, 0x06, 0, 0, 0, 0x06, 0, 0, 0xFFFFFFFF)
    code = ctypes.create_string_buffer(program)
    filtered = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filtered)


@contextlib.asynccontextmanager
async def serve_metrics(service: Service) -> AsyncIterator[None]:
    """Serve the metrics of `service` on their port. Raises OSError where it cannot listen."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["method"] in ("GET", "HEAD")
        status = 404 if scope["path"] not in ("/metrics", "/") else 200 if asked else 405
        headers = [(b"content-type", CONTENT_TYPE_LATEST.encode() if status == 200 else b"text/plain")]
        headers += [(b"allow", b"GET, HEAD")] if status == 405 else []
        body = await service.metrics.text(service.metrics_limiter) if status == 200 else b""
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    config = uvicorn_config(app, service.admission, None, lifespan="off")
    config.load()
    loop, state = asyncio.get_running_loop(), ServerState()
    kind: Any = config.http_protocol_class
    protocol = functools.partial(kind, config=config, server_state=state, app_state={})
    server = await loop.create_server(protocol, service.host, service.settings.metrics_port)
    try:
        yield
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
