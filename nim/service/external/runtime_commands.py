"""The command lines of Wasmer and WasmEdge: their arguments, and how they report that a guest has failed."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..runtime_api import GuestError, MemoryLimit, Trap

MIB = 1 << 20
_MAX_MESSAGE_BYTES = 2000  # of a runtime's output, in an error message


@dataclass(frozen=True)
class ProcessResult:
    """The output of a process that has ended, and its exit status (negative: the number of the signal)."""

    stdout: bytes
    stderr: bytes
    status: int

    def stderr_tail(self) -> str:
        """The end of standard error, as text for an error message."""
        return _tail(self.stderr)


@dataclass(frozen=True)
class ExternalRuntime:
    """The executable of one runtime: how it is called, and how its result is interpreted."""

    name: str
    executable: str
    remediation: str
    overhead_bytes: int
    """Memory that the runtime needs in addition to the guest's."""
    arguments: Callable[[str, Sequence[str], int], list[str]]
    """Returns the runtime's arguments, from a module's path, the guest's arguments and the maximum number of pages."""
    interpret: Callable[[ProcessResult], tuple[bytes, bytes, int]]
    """Returns standard output, standard error and exit code of a process that no signal has ended, or raises
    GuestError."""
    cache_variables: tuple[str, ...] = field(default=())
    """Environment variables that name directories for the runtime's files."""

    def guest_result(self, result: ProcessResult) -> tuple[bytes, bytes, int]:
        """Standard output, standard error and exit code of the guest. Raises Trap, MemoryLimit or GuestError."""
        if result.status >= 0:
            return self.interpret(result)
        stderr = result.stderr_tail()
        message = f"{self.name} was terminated by {signal.Signals(-result.status).name}"
        message += f"\nstderr: {stderr}" if stderr else ""
        if "bad_alloc" in stderr or "memory allocation of" in stderr:  # messages of C++ and Rust
            raise MemoryLimit(f"{message}\nThe guest, or the runtime for it, needs more memory than the limit allows.")
        raise GuestError(message)


def _tail(output: bytes) -> str:
    return output[-_MAX_MESSAGE_BYTES:].decode("utf-8", "backslashreplace").strip()


# WasmEdge writes its own log lines into the guest's standard output, so only their format distinguishes them.
_EDGE_LINE = re.compile(rb"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] \[(?:error|warning)\] ([^\n]*)\n?")
_EDGE_FAILED = re.compile(
    rb"(execution|instantiation|loading|validation|wasmedge runtime) failed: ([^\n]*), Code: 0x[0-9a-fA-F]+"
)
_EDGE_TRAP_STATUS = (1, 134)  # 1 before version 0.13, 134 since
_EDGE_MEMORY = re.compile(
    rb"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] \[(?:error|warning)\] Memory Instance: [^\n]*\n?"
)


def _edge_arguments(module: str, args: Sequence[str], pages: int) -> list[str]:
    return ["--memory-page-limit", str(pages), "--", module, *args]


def _edge_interpret(result: ProcessResult) -> tuple[bytes, bytes, int]:
    if result.status in _EDGE_TRAP_STATUS:
        lines = [match[1] for match in _EDGE_LINE.finditer(result.stdout + b"\n" + result.stderr)]
        failed = next((_EDGE_FAILED.match(line) for line in lines if _EDGE_FAILED.match(line)), None)
        if failed is not None:
            message = "\n".join(line.decode("utf-8", "backslashreplace") for line in lines)
            raise (Trap if failed[1] == b"execution" else GuestError)(f"WasmEdge: {message[:_MAX_MESSAGE_BYTES]}")
    # a failed memory.grow is not an error of the process: the guest receives -1 and continues
    return _EDGE_MEMORY.sub(b"", result.stdout), result.stderr, result.status


_WASMER_ERROR = re.compile(rb"^(?:error: )(.*(?:\n.*)*)\Z", re.MULTILINE)


def _wasmer_arguments(module: str, args: Sequence[str], _pages: int) -> list[str]:
    return ["run", module, *(["--", *args] if args else [])]


def _wasmer_interpret(result: ProcessResult) -> tuple[bytes, bytes, int]:
    # Wasmer's own errors are the last output; their exit status can also be that of a guest
    error = _WASMER_ERROR.search(result.stderr) if result.status else None
    if error is not None:
        message = f"Wasmer: {_tail(error[1])}"
        raise (Trap if b"RuntimeError" in error[1] else GuestError)(message)
    return result.stdout, result.stderr, result.status


RUNTIMES: Final = {
    runtime.name: runtime
    for runtime in (
        ExternalRuntime(
            name="Wasmer",
            executable="wasmer",
            remediation="install Wasmer 4 or later, or set wasm_runtime_path",
            overhead_bytes=1024 * MIB,  # its compilers run in threads, each with a stack
            arguments=_wasmer_arguments,
            interpret=_wasmer_interpret,
            cache_variables=("WASMER_DIR", "WASMER_CACHE_DIR"),
        ),
        ExternalRuntime(
            name="WasmEdge",
            executable="wasmedge",
            remediation="install WasmEdge 0.13 or later (on Debian 13: `apt-get install wasmedge`),"
            " or set wasm_runtime_path",
            overhead_bytes=256 * MIB,
            arguments=_edge_arguments,
            interpret=_edge_interpret,
        ),
    )
}
