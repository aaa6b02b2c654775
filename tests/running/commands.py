"""Runs the `portalis` command as a shell does, in a process that is ready to (see `tests.running.prepared`)."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.parts import ROOT
from tests.running import session
from tests.running.waiting import until

# what Python reads at its start, and so cannot learn later
STARTUP = ("PYTHON", "LANG", "LC_", "LD_", "COVERAGE")
LIMIT_S = 600


class Ready:
    """The process that has the imports; one for each process that runs tests."""

    def __init__(self) -> None:
        self._path = session.folder() / f"commands-{os.getpid()}.sock"
        self._environment = dict(os.environ)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.running.prepared", str(self._path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,  # its end is that of this process
            start_new_session=True,  # a Ctrl-C is for the tests
        )

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Whether a process of its own would start in the same way."""
        return _of_startup(environment) == _of_startup(self._environment)

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], given: str
    ) -> tuple[int, str, str]:
        """The exit code and what was written to standard output and standard error."""
        request = {"arguments": list(arguments), "folder": str(folder), "environment": dict(environment)}
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(3)]
            streams[0].write(given)
            streams[0].seek(0)
            connection = stack.enter_context(self._connect())
            message = json.dumps(request).encode() + b"\n"
            sent = socket.send_fds(connection, [message], [each.fileno() for each in streams])
            connection.sendall(message[sent:])
            connection.settimeout(LIMIT_S)
            status = int(connection.recv(16))
            for each in streams[1:]:
                each.seek(0)
            return status, streams[1].read(), streams[2].read()

    def _connect(self) -> socket.socket:
        until(lambda: self._path.exists() or self._process.poll() is not None, "the process does not start")
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self._path))
        return connection


def _of_startup(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(STARTUP)}


@functools.cache
def _ready() -> Ready:
    return Ready()


def portalis(
    *arguments: str | os.PathLike[str], folder: Path, environment: Mapping[str, str] | None = None, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`; `environment` is its whole environment, this process's by default; `given` is its input."""
    environment = os.environ if environment is None else environment
    words = [os.fspath(each) for each in arguments]
    command = [sys.executable, "-m", "portalis", *words]
    if not _ready().fits(environment):
        return subprocess.run(
            command, cwd=folder, env=environment, input=given, capture_output=True, text=True, timeout=LIMIT_S
        )
    return subprocess.CompletedProcess(command, *_ready().run(words, folder, environment, given))
