"""Runs a WASI command with the `wasmer` or `wasmedge` executable: one process for each row of a request.

The guest gets arguments, standard input and standard output; no directory, environment variable or network. The kernel
limits the data segment, CPU time and core dumps of the process, because a guest can make a runtime use more memory and
time than the guest itself is allowed.
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

from ..runtime_api import (
    PAGE,
    SERVICE_NAMES,
    GuestError,
    GuestTimeout,
    InputError,
    Limits,
    Program,
    SettingNames,
    SettingsError,
)
from .pipes import OutputLimitExceeded, communicate
from .runtime_commands import RUNTIMES, ExternalRuntime, ProcessResult

try:
    import resource
except ImportError:  # Windows, where `load_program` raises SettingsError because a POSIX shell is missing too
    resource = None  # type: ignore[assignment]

_SHELL = "/bin/sh"
# Set by a shell: Python could set limits only after the process has started, or in a fork of a multithreaded process.
_LIMIT_AND_RUN = 'ulimit -c 0 && ulimit -d "$1" && ulimit -t "$2" && shift 2 && exec "$@"'
_CACHE_VARIABLE = "NIM_CACHE_PATH"


def load_program(
    path: Path,
    runtime: str,
    command: Sequence[str] = (),
    *,
    interface: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    threads: int = 1,
    setting_names: SettingNames = SERVICE_NAMES,
) -> Program:
    """The WASI command at `path`, run by `runtime`: "Wasmer" or "WasmEdge".

    `command` is the executable of the runtime and its leading arguments; if empty, the executable on PATH is used.
    Raises SettingsError if the runtime is not available or the module is not a command, and the errors of
    `Program.load`.
    """
    external, limits = RUNTIMES[runtime], limits or Limits()
    argv = tuple(command) or _command_on_path(external)
    if not os.access(_SHELL, os.X_OK):
        raise SettingsError(f"{runtime} requires a POSIX shell: {_SHELL} not found")
    if shutil.which(argv[0]) is None:
        raise SettingsError(f"{runtime} cannot be started: no executable {argv[0]} found; {external.remediation}")
    run_row = ProcessRunner(external, argv, path.resolve(), limits, setting_names)
    # rejects an initial memory larger than the limit: WasmEdge would run the module with less memory than it declares
    return Program.from_command(
        path, run_row, interface=interface, limits=limits, threads=threads, setting_names=setting_names
    )


def _command_on_path(runtime: ExternalRuntime) -> tuple[str, ...]:
    executable = shutil.which(runtime.executable)
    if executable is None:
        raise SettingsError(
            f"{runtime.name} is not installed: no {runtime.executable} found on PATH; {runtime.remediation}"
        )
    return (executable,)


class ProcessRunner:
    """Runs each row with the module at `path` in a new process. Instances are `RunRow` callables."""

    def __init__(
        self, runtime: ExternalRuntime, command: Sequence[str], path: Path, limits: Limits, setting_names: SettingNames
    ) -> None:
        self._runtime, self._command, self._path, self._limits = runtime, command, path, limits
        self._setting_names = setting_names
        self._cache_folder = os.environ.get(_CACHE_VARIABLE) or tempfile.gettempdir()

    def __call__(self, stdin: bytes, args: Sequence[str], timeout_s: float) -> tuple[bytes, bytes, int]:
        """Standard output, standard error and exit code of one row.

        The exit code is that of the process, so only the lowest 8 bits of the guest's exit code are known.
        """
        limits = self._limits
        process = self._start(args, timeout_s)
        try:
            with process:
                try:
                    stdout, stderr = communicate(process, stdin, timeout_s, limits.max_stdout_bytes)
                except TimeoutError:
                    raise GuestTimeout(
                        f"the program ran longer than its limit of {timeout_s:g} s"
                        f" ({self._setting_names.more_time_advice(timeout_s, limits.timeout_s)})"
                    ) from None
                except OutputLimitExceeded:
                    raise GuestError(
                        f"the program wrote more than {limits.max_stdout_bytes} bytes to a stream"
                        f" ({self._setting_names.raise_advice('max_stdout_bytes')}, or have it write less)"
                    ) from None
                finally:
                    if process.returncode is None:
                        _kill(process)
        except OSError as error:
            raise GuestError(f"{self._runtime.name} could not be run: {error.strerror or error}") from None
        return self._runtime.guest_result(ProcessResult(stdout, stderr, process.returncode))

    def _start(self, args: Sequence[str], timeout_s: float) -> subprocess.Popen[bytes]:
        pages = max(1, self._limits.max_memory_bytes // PAGE)
        argv = [*self._limit_argv(timeout_s), *self._command, *self._runtime.arguments(str(self._path), args, pages)]
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(
                argv, stdin=pipe, stdout=pipe, stderr=pipe, env=self._environment(), cwd="/", start_new_session=True
            )
        except OSError as error:
            if error.errno == errno.E2BIG:
                raise InputError("input 'args' exceeds the operating system's limit on a program's arguments") from None
            raise GuestError(f"{self._runtime.name} could not be started: {error.strerror or error}") from None

    def _environment(self) -> dict[str, str]:
        """The environment of the runtime: where it can cache compiled code. The guest does not see these variables."""
        variables = dict.fromkeys(("HOME", "TMPDIR", *self._runtime.cache_variables), self._cache_folder)
        return variables | {key: os.environ[key] for key in ("LD_LIBRARY_PATH",) if key in os.environ}

    def _limit_argv(self, timeout_s: float) -> list[str]:
        """Arguments that precede a command and run it under resource limits, which apply from its first instruction.

        The CPU limit, `timeout_s` on every CPU, ends the process if this service ends without killing it.
        """
        data_bytes = self._limits.max_memory_bytes + self._runtime.overhead_bytes
        cpu_s = math.ceil(timeout_s) * (os.cpu_count() or 1) + 1
        data_kib = _within_hard_limit(resource.RLIMIT_DATA, data_bytes) // 1024
        return [
            _SHELL,
            "-c",
            _LIMIT_AND_RUN,
            _SHELL,
            str(data_kib),
            str(_within_hard_limit(resource.RLIMIT_CPU, cpu_s)),
        ]


def _within_hard_limit(kind: int, value: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and every process that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
