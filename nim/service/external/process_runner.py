"""Runs a WASI program in a runtime of another process: Wasmer's or WasmEdge's command, one process for each row.

The guest gets its arguments, standard input and output; no folder, no variable, no network. The process is confined by
the kernel, as a runtime of its own can be made to use more than its guest may: data, processor time, core dumps.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..runtime_api import PAGE, SERVICE, GuestError, GuestTimeout, InputError, Limits, Program, SettingsError, Terms
from .pipes import TooMuchOutput, exchange
from .runtime_commands import RUNTIMES, Ended, Runtime

try:
    import resource
except ImportError:  # a system without a POSIX shell either, where `load` refuses
    resource = None  # type: ignore[assignment]

_SHELL = "/bin/sh"
# Python could only set them once the process runs, or in a fork of many threads
_LIMITED = 'ulimit -c 0 && ulimit -d "$1" && ulimit -t "$2" && shift 2 && exec "$@"'
_CACHE = "NIM_CACHE_PATH"


def load(
    path: Path,
    runtime: str,
    command: Sequence[str] = (),
    *,
    interface: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    threads: int = 1,
    terms: Terms = SERVICE,
) -> Program:
    """The WASI program at `path`, run by the `runtime` called Wasmer or WasmEdge. `command` starts that (the words
    before its own arguments); without it the one on PATH is taken.

    Raises SettingsError where the runtime is not there or the module is no command, and what `Program.load` raises.
    """
    found, limits = RUNTIMES[runtime], limits or Limits()
    words = tuple(command) or _on_path(found)
    if not os.access(_SHELL, os.X_OK):
        raise SettingsError(f"{runtime} is run on systems with a POSIX shell only: there is no {_SHELL}")
    if shutil.which(words[0]) is None:
        raise SettingsError(f"{runtime} cannot be started: there is no program {words[0]}; {found.remedy}")
    run_row = Process(found, words, path.resolve(), limits, terms)
    # this refuses a first memory above the limit: WasmEdge would run it with less memory than it declares
    return Program.of_command(path, run_row, interface=interface, limits=limits, threads=threads, terms=terms)


def _on_path(runtime: Runtime) -> tuple[str, ...]:
    found = shutil.which(runtime.binary)
    if found is None:
        raise SettingsError(f"{runtime.name} is not here: there is no {runtime.binary} on PATH; {runtime.remedy}")
    return (found,)


class Process:
    """Runs each row of the module at `path` in a process of its own, as `RunRow` of the runtime says."""

    def __init__(self, runtime: Runtime, command: Sequence[str], path: Path, limits: Limits, terms: Terms) -> None:
        self._runtime, self._command, self._path, self._limits = runtime, command, path, limits
        self._terms = terms
        self._folder = os.environ.get(_CACHE) or tempfile.gettempdir()

    def __call__(self, stdin: bytes, args: Sequence[str], timeout_s: float) -> tuple[bytes, bytes, int]:
        """One row. The exit code is that of the process, so of a larger one only the lowest 8 bits are told."""
        limits = self._limits
        process = self._start(args, timeout_s)
        try:
            with process:
                try:
                    stdout, stderr = exchange(process, stdin, timeout_s, limits.max_stdout_bytes)
                except TimeoutError:
                    raise GuestTimeout(
                        f"the program ran longer than its limit of {timeout_s:g} s"
                        f" ({self._terms.more_time(timeout_s, limits.timeout_s)})"
                    ) from None
                except TooMuchOutput:
                    raise GuestError(
                        f"the program wrote more than {limits.max_stdout_bytes} bytes to a stream"
                        f" ({self._terms.raising('max_stdout_bytes')}, or have it write less)"
                    ) from None
                finally:
                    if process.returncode is None:
                        _kill(process)
        except OSError as problem:
            raise GuestError(f"{self._runtime.name} could not be run: {problem.strerror or problem}") from None
        return self._runtime.result(Ended(stdout, stderr, process.returncode))

    def _start(self, args: Sequence[str], timeout_s: float) -> subprocess.Popen[bytes]:
        pages = max(1, self._limits.max_memory_bytes // PAGE)
        words = [*self._confined(timeout_s), *self._command, *self._runtime.words(str(self._path), args, pages)]
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(
                words, stdin=pipe, stdout=pipe, stderr=pipe, env=self._environment(), cwd="/", start_new_session=True
            )
        except OSError as problem:
            if problem.errno == errno.E2BIG:
                raise InputError("input 'args' is longer than the system lets a program's arguments be") from None
            raise GuestError(f"{self._runtime.name} could not be started: {problem.strerror or problem}") from None

    def _environment(self) -> dict[str, str]:
        """The runtime's own: where it may keep what it compiles. The guest sees nothing of it."""
        own = dict.fromkeys(("HOME", "TMPDIR", *self._runtime.folders), self._folder)
        return own | {key: os.environ[key] for key in ("LD_LIBRARY_PATH",) if key in os.environ}

    def _confined(self, timeout_s: float) -> list[str]:
        """The words that start what comes behind them within limits, which hold from its first instruction."""
        most = self._limits.max_memory_bytes + self._runtime.own_bytes
        seconds = math.ceil(timeout_s) * (os.cpu_count() or 1) + 1  # should nobody be left to kill it
        data, cpu = _allowed(resource.RLIMIT_DATA, most) // 1024, _allowed(resource.RLIMIT_CPU, seconds)
        return [_SHELL, "-c", _LIMITED, _SHELL, str(data), str(cpu)]


def _allowed(kind: int, wanted: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
