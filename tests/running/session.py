"""Resources that all processes of a test run share: a directory, values computed once, and servers.

The main pytest process begins the session. The workers of pytest-xdist find it through their environment.
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
    """Create the session's directory. Its path is short, because a socket's path has at most 107 bytes."""
    for stale in Path(tempfile.gettempdir()).glob("portalis-tests-*-*"):  # left by a run that was killed
        if not Path("/proc", stale.name.split("-")[2]).exists():
            shutil.rmtree(stale, ignore_errors=True)
    os.environ[FOLDER] = tempfile.mkdtemp(prefix=f"portalis-tests-{os.getpid()}-")
    os.environ[PROCESS] = str(os.getpid())


def end() -> None:
    """Stop the session's servers, and remove its directory."""
    directory = Path(os.environ.pop(FOLDER))
    os.environ.pop(PROCESS)
    keepers = [int(file.read_text()) for file in directory.glob("*.keeper")]
    for pid in keepers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    for pid in keepers:
        _wait_for_end(pid)
    shutil.rmtree(directory, ignore_errors=True)


def _wait_for_end(pid: int) -> None:
    """Wait for a process that might not be a child of this one: workers start keepers too."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        select.select([descriptor], [], [], STOP_S)
        os.close(descriptor)


def folder() -> Path:
    """The directory that all processes of this run share. It is removed with the run.

    Outside a test run, for example in benchmarks, the process begins a separate session.
    """
    if FOLDER not in os.environ:
        begin()
        atexit.register(end)
    return Path(os.environ[FOLDER])


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """A lock between the processes of this run."""
    with (folder() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def once(name: str, make: Callable[[], Any]) -> Any:
    """The result of `make`, a JSON value, computed by the first process of this run that calls `once` for `name`.

    An exception is not stored: the next call runs `make` again.
    """
    with lock(name):
        file = folder() / f"{name}.json"
        if not file.exists():
            value = make()
            file.write_text(json.dumps(value))
        return json.loads(file.read_text())


def keep(name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
    """Start a server that all processes of this run can use. It ends with the run, even if the run is killed.

    After the server has ended, mounts under the directory of `log` are unmounted and the directory is removed.
    """
    file = folder() / f"{name}.keeper"
    with log.open("ab") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-I", str(KEEPER), os.environ[PROCESS], str(log.parent), *command],
            env=dict(environment or os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C must interrupt only the tests
        )
    file.write_text(str(keeper.pid))
