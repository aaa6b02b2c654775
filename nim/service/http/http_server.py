"""The HTTP servers of the API and of the metrics port. The API's server stops without losing a request.

After a signal, the service reports that it is not ready and continues to serve; then it stops listening; then it
completes the requests in progress; then it ends.

One race remains: a client can send a request on a connection that has been idle for at least `connections.QUIET_S`
while the server's close of that connection is in transit. In HTTP/1.1, the only remedy is that clients repeat such a
request. It does not occur if the load balancer stops using the service within `drain_s`.
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
from .direct_connections import DirectConnection
from .direct_inference import DirectInference

KEEP_ALIVE_S = 75
"""Seconds for which an idle connection is kept open: longer than load balancers keep theirs (usually 60 s), so that
they close it and never send a request on a closed connection."""

_LOG = logging.getLogger(__name__)
_BACKLOG_S, _HANDSHAKE_S = 1.0, 0.1  # maximum and minimum time for accepting connections before listeners are closed
_SO_ATTACH_FILTER = 26


def uvicorn_config(
    app: ASGIApp, admission: Admission, level: int | None, *, direct: DirectInference | None = None, **options: Any
) -> uvicorn.Config:
    """The configuration of uvicorn: `HttpConnection` with the limits of `admission`, and uvloop if it is installed.
    `direct` answers inference requests that need no application.

    uvicorn logs to the handlers of this process, from `level` on; None leaves the level as it is.
    """
    protocol: Any = (
        functools.partial(HttpConnection, admission)
        if direct is None
        else functools.partial(DirectConnection, direct, admission)
    )
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
        **options,
    )


class DrainingServer(uvicorn.Server):
    """uvicorn's server. After a first signal it serves for up to `linger_s` seconds; a second signal ends it."""

    def __init__(self, config: uvicorn.Config, drain: Drain, linger_s: float) -> None:
        super().__init__(config)
        self._drain, self._linger_s = drain, linger_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the drain on the first signal. Unlike in uvicorn, the signal is not raised again at the end, because a
        requested stop is not a failure."""
        if self._drain.stopping:
            # not the signal's default action, which the kernel ignores for a container's first process
            os._exit(128 + sig)
        self._drain.stopping = True

    async def on_tick(self, counter: int) -> bool:
        """Whether the main loop should end."""
        return await super().on_tick(counter) or self._drain.stopping

    async def main_loop(self) -> None:
        """Serve until a signal arrives, and then until no connection is open or `linger_s` has passed."""
        await super().main_loop()
        _LOG.info("stopping: %d requests in progress", self._drain.in_flight)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._linger_s
        # load balancers send requests until they notice; without a connection, no load balancer uses this service
        while loop.time() < deadline and (  # noqa: ASYNC110  # uvicorn does not report the end of a connection
            self._drain.in_flight or self.server_state.connections
        ):
            await asyncio.sleep(0.02)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, close idle connections (`HttpConnection.shutdown`), complete the requests in progress, then
        end the application."""
        await self._drain_backlog(sockets or [])
        stopping = asyncio.ensure_future(self._drain.stop_servers())
        await super().shutdown(sockets)
        await stopping

    async def _drain_backlog(self, listeners: Sequence[socket.socket]) -> None:
        """Wait until every waiting connection is accepted, because closing a listener resets those that are not.

        Clients that connect continuously would delay that indefinitely, so the packets that open new connections are
        dropped first. TCP sends such a packet again, and by then the port is closed.
        """
        loop = asyncio.get_running_loop()
        for listener in listeners:
            _drop_new_connections(listener)
        began = loop.time()
        while hasattr(select, "poll") and loop.time() < began + _BACKLOG_S:
            poll = select.poll()
            for listener in listeners:
                poll.register(listener, select.POLLIN)
            # connections in the middle of their handshake get the time to complete it
            if not poll.poll(0) and loop.time() > began + _HANDSHAKE_S:
                return
            await asyncio.sleep(0.005)


def _drop_new_connections(listener: socket.socket) -> None:
    """Let the kernel drop every packet to `listener` that opens a connection (Linux only; it requires no privileges).

    Without that, a connection that arrives between the last poll and the close of the listener is reset.
    """
    if not sys.platform.startswith("linux"):
        return
    # BPF on the TCP header: load the flags; keep 0 bytes of the packet if SYN is set, else all bytes
    program = struct.pack("=" + "HBBI" * 4, 0x30, 0, 0, 13, 0x45, 0, 1, 0x02, 0x06, 0, 0, 0, 0x06, 0, 0, 0xFFFFFFFF)
    code = ctypes.create_string_buffer(program)
    socket_filter = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, socket_filter)


@contextlib.asynccontextmanager
async def serve_metrics(service: Service) -> AsyncIterator[None]:
    """Serve the metrics of `service` on their own port, with the same limits on connections as the API.

    Raises OSError if it cannot listen.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        is_read = scope["method"] in ("GET", "HEAD")
        status = 404 if scope["path"] not in ("/metrics", "/") else 200 if is_read else 405
        headers = [(b"content-type", CONTENT_TYPE_LATEST.encode() if status == 200 else b"text/plain")]
        headers += [(b"allow", b"GET, HEAD")] if status == 405 else []
        body = await service.metrics_text() if status == 200 else b""
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    config = uvicorn_config(app, service.admission, None, lifespan="off")
    config.load()
    loop, state = asyncio.get_running_loop(), ServerState()
    protocol_class: Any = config.http_protocol_class
    protocol = functools.partial(protocol_class, config=config, server_state=state, app_state={})
    address = (
        {"sock": service.metrics_socket}
        if service.metrics_socket
        else {"host": service.host, "port": service.settings.metrics_port}
    )
    server = await loop.create_server(protocol, **address)
    try:
        yield
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
