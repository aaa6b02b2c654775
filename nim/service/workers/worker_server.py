"""The HTTP server of a worker process, which shares its listening socket with the other workers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

from ..http import DrainingServer
from ..peers.worker_link import WorkerLink
from ..request_errors import RequestError

BACKLOG = 2048
"""Maximum number of connections that wait to be accepted."""
_QUIET_S = 2.0  # that the other workers may take longer


class WorkerServer(DrainingServer):
    """A server whose workers accept connections from one socket, and stop listening at the same time."""

    def __init__(self, link: WorkerLink, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._link = link

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept connections from `sockets`."""
        await super().startup([])
        config, loop = self.config, asyncio.get_running_loop()

        def create_protocol() -> asyncio.Protocol:
            protocol: Any = config.http_protocol_class
            created: asyncio.Protocol = protocol(
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return created

        self.servers: list[Any] = [SharedListener(loop, each, create_protocol) for each in sockets or []]

    async def main_loop(self) -> None:
        """Serve until all workers have drained so far that the port can be closed."""
        await super().main_loop()
        with contextlib.suppress(RequestError):
            await self._link.ask("quiet", timeout_s=self._linger_s + _QUIET_S)


class SharedListener:
    """Accepts connections from a socket on which several processes listen.

    It accepts one connection per turn of the event loop. Event loops accept all that wait, so that one process would
    get most connections of clients that connect at the same time.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, listener: socket.socket, create_protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        self._loop, self._listener, self._create = loop, listener, create_protocol
        self._tasks: set[asyncio.Task[Any]] = set()
        listener.setblocking(False)
        listener.listen(BACKLOG)
        loop.add_reader(listener, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # another process was faster, or the client or the limit of open files ended it
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._connect(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._create, connection)
        except OSError:
            connection.close()

    def close(self) -> None:
        """Accept no more connections."""
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """Part of the interface of asyncio's servers."""
