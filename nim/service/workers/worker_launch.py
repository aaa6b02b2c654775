"""Starting a worker process: a new interpreter that inherits the listening sockets and a channel."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

from ..logs import LogOptions
from ..settings import ServiceSettings


class WorkerLaunch:
    """The options of all workers. `listeners` are the sockets of the API and of the metrics port."""

    def __init__(
        self,
        settings: ServiceSettings,
        folder: Path,
        *,
        host: str,
        level: int,
        logs: LogOptions,
        listeners: tuple[socket.socket, socket.socket],
    ) -> None:
        self.settings, self.host, self.listeners = settings, host, listeners
        self._options = {
            "settings": settings.model_dump_json(),
            "folder": str(folder.absolute()),
            "host": host,
            "level": level,
            "log_level": logs.level,
            "json_lines": logs.json_lines,
            "began": time.time(),
        }

    async def start(self, number: int, **options: Any) -> tuple[asyncio.subprocess.Process, socket.socket]:
        """Start worker `number`; returns its process and this end of its channel. `options` differ between workers."""
        ours, theirs = socket.socketpair()
        with theirs:
            files = (theirs.fileno(), *(each.fileno() for each in self.listeners))
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    f"{__package__}.worker_process",
                    *map(str, files),
                    env=_environment(),
                    pass_fds=files,
                    # a terminal sends Ctrl-C to its whole process group, but the supervisor passes signals on
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        content = json.dumps({**self._options, **options, "number": number}).encode()
        # in a thread: the worker reads it after it has started
        await asyncio.get_running_loop().run_in_executor(None, _send, ours, struct.pack("<I", len(content)) + content)
        return process, ours


def _send(connection: socket.socket, content: bytes) -> None:
    try:
        connection.sendall(content)
    except OSError:  # the worker has ended already, which its supervisor notices
        connection.close()


def _environment() -> dict[str, str]:
    """The environment in which a worker finds this package, and nothing of the working directory."""
    root = Path(sys.modules[(__package__ or "").partition(".")[0]].__path__[0]).parent
    paths = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}


def read_options(connection: socket.socket) -> dict[str, Any]:
    """The options that `WorkerLaunch.start` sent. Raises EOFError if the supervisor has ended."""
    (size,) = struct.unpack("<I", _read(connection, 4))
    options: dict[str, Any] = json.loads(_read(connection, size))
    return options


def _read(connection: socket.socket, size: int) -> bytes:
    content = bytearray()
    while len(content) < size:
        chunk = connection.recv(min(size - len(content), 1 << 20))
        if not chunk:
            raise EOFError
        content += chunk
    return bytes(content)


def describe_end(status: int) -> str:
    """The exit status of a process, in words."""
    return f"exit status {status}" if status >= 0 else f"signal {-status}"
