"""What one run of the tests has once, however many processes run it: a folder, values made under a lock, and servers.

The process that pytest was started as begins the session; the workers of pytest-xdist find it in their environment.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER, PROCESS = "PORTALIS_TEST_SESSION", "PORTALIS_TEST_SESSION_PID"
KEEPER = Path(__file__).with_name("keeper.py")
STOP_S = 60


def begin() -> None:
    """Make the session's folder. Its path is short: a socket's has at most 107 bytes."""
    for left in Path(tempfile.gettempdir()).glob("portalis-tests-*-*"):  # by a run that was killed
        if not Path("/proc", left.name.split("-")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
    os.environ[FOLDER] = tempfile.mkdtemp(prefix=f"portalis-tests-{os.getpid()}-")
    os.environ[PROCESS] = str(os.getpid())


def end() -> None:
    """Stop all that the session keeps, and remove its folder."""
    place = Path(os.environ.pop(FOLDER))
    os.environ.pop(PROCESS)
    keepers = [int(file.read_text()) for file in place.glob("*.keeper")]
    for pid in keepers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    for pid in keepers:
        _wait_for_end(pid)
    shutil.rmtree(place, ignore_errors=True)


def _wait_for_end(pid: int) -> None:
    """A keeper that a worker started is no child of this process, so `wait` does not do."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        select.select([descriptor], [], [], STOP_S)
        os.close(descriptor)


def folder() -> Path:
    """The folder that all processes of this run share; it goes with the run. Outside of a run (the benchmarks use these
    modules too) the process is a session of its own."""
    if FOLDER not in os.environ:
        begin()
        atexit.register(end)
    return Path(os.environ[FOLDER])


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Held by one process of this run at a time."""
    with (folder() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def once(name: str, make: Callable[[], Any]) -> Any:
    """What `make` returns (a value that JSON has), made by the first process of this run that asks.

    An exception is not kept: the next one that asks tries again.
    """
    with lock(name):
        file = folder() / f"{name}.json"
        if not file.exists():
            value = make()
            file.write_text(json.dumps(value))
        return json.loads(file.read_text())


def keep(name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
    """Start a server that all processes of this run may use: it ends with the run, even if that is killed.

    Mounts below the folder of `log` are undone and the folder is removed after the server has ended.
    """
    file = folder() / f"{name}.keeper"
    with log.open("ab") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-I", str(KEEPER), os.environ[PROCESS], str(log.parent), *command],
            env=dict(environment or os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C is for the tests
        )
    file.write_text(str(keeper.pid))
