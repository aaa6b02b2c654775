"""Runs the `portalis` command in a fork of a prepared process (see `tests.running.prepared`)."""

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

# prefixes of variables that the interpreter and the loader read only at startup
STARTUP = ("PYTHON", "LANG", "LC_", "LD_", "COVERAGE")
LIMIT_S = 600


class PreparedProcess:
    """A process that has imported the command's modules. Each process that runs tests starts one."""

    def __init__(self) -> None:
        self._path = session.folder() / f"commands-{os.getpid()}.sock"
        self._environment = dict(os.environ)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.running.prepared", str(self._path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,  # closed when this process ends, which ends the child
            start_new_session=True,  # Ctrl-C must interrupt only the tests
        )

    def supports(self, environment: Mapping[str, str]) -> bool:
        """Whether a new process with `environment` would start in the same way as this one did."""
        return _startup_variables(environment) == _startup_variables(self._environment)

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], stdin: str
    ) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of the command."""
        request = {"arguments": list(arguments), "folder": str(folder), "environment": dict(environment)}
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(3)]
            streams[0].write(stdin)
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


def _startup_variables(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(STARTUP)}


@functools.cache
def _prepared() -> PreparedProcess:
    return PreparedProcess()


def portalis(
    *arguments: str | os.PathLike[str], folder: Path, environment: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder` with the text `stdin` as input.

    `environment` is its complete environment, by default that of this process.
    """
    environment = os.environ if environment is None else environment
    argv = [os.fspath(each) for each in arguments]
    command = [sys.executable, "-m", "portalis", *argv]
    if not _prepared().supports(environment):
        return subprocess.run(
            command, cwd=folder, env=environment, input=stdin, capture_output=True, text=True, timeout=LIMIT_S
        )
    return subprocess.CompletedProcess(command, *_prepared().run(argv, folder, environment, stdin))
