"""What the commands of Wasmer and WasmEdge take, and how they tell that a guest has failed. Nothing else knows it."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..runtime_api import GuestError, MemoryLimit, Trap

MIB = 1 << 20
_TOLD_BYTES = 2000


@dataclass(frozen=True)
class Ended:
    """How a process has ended: what it wrote, and its exit status (below 0 the signal)."""

    stdout: bytes
    stderr: bytes
    status: int

    def told(self, text: bytes) -> str:
        """The end of `text`, for people."""
        return text[-_TOLD_BYTES:].decode("utf-8", "backslashreplace").strip()


@dataclass(frozen=True)
class Runtime:
    """One runtime's command.

    `words` makes its arguments of the module, the guest's arguments and the most pages of memory; `interpret` makes
    stdout, stderr and exit code of a process that no signal has ended, or raises GuestError. `own_bytes` is what the
    runtime needs beside the guest's memory. `folders` are variables that name where it keeps files of its own.
    """

    name: str
    binary: str
    remedy: str
    own_bytes: int
    words: Callable[[str, Sequence[str], int], list[str]]
    interpret: Callable[[Ended], tuple[bytes, bytes, int]]
    folders: tuple[str, ...] = field(default=())

    def result(self, ended: Ended) -> tuple[bytes, bytes, int]:
        """stdout, stderr and exit code of the guest. Raises Trap, MemoryLimit or another GuestError."""
        if ended.status >= 0:
            return self.interpret(ended)
        told = ended.told(ended.stderr)
        text = f"{self.name} was ended by {signal.Signals(-ended.status).name}" + (f"\nstderr: {told}" if told else "")
        if "bad_alloc" in told or "memory allocation of" in told:  # C++'s and Rust's
            raise MemoryLimit(f"{text}\nThe guest, or the runtime for it, needs more memory than the limit allows.")
        raise GuestError(text)


# Both write such lines of their own. As WasmEdge writes them into the guest's stdout, they are known by their form.
_EDGE_LINE = re.compile(rb"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] \[(?:error|warning)\] ([^\n]*)\n?")
_EDGE_FAILED = re.compile(
    rb"(execution|instantiation|loading|validation|wasmedge runtime) failed: ([^\n]*), Code: 0x[0-9a-fA-F]+"
)
_EDGE_TRAP_STATUS = (1, 134)  # by version; 134 since 0.13
_EDGE_MEMORY = re.compile(
    rb"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] \[(?:error|warning)\] Memory Instance: [^\n]*\n?"
)


def _edge_words(module: str, args: Sequence[str], pages: int) -> list[str]:
    return ["--memory-page-limit", str(pages), "--", module, *args]


def _edge_interpret(ended: Ended) -> tuple[bytes, bytes, int]:
    if ended.status in _EDGE_TRAP_STATUS:
        lines = [found[1] for found in _EDGE_LINE.finditer(ended.stdout + b"\n" + ended.stderr)]
        failed = next((_EDGE_FAILED.match(line) for line in lines if _EDGE_FAILED.match(line)), None)
        if failed is not None:
            text = "\n".join(line.decode("utf-8", "backslashreplace") for line in lines)
            raise (Trap if failed[1] == b"execution" else GuestError)(f"WasmEdge: {text[:_TOLD_BYTES]}")
    # that memory.grow met the limit is the guest's business, which goes on
    return _EDGE_MEMORY.sub(b"", ended.stdout), ended.stderr, ended.status


_WASMER_ERROR = re.compile(rb"^(?:error: )(.*(?:\n.*)*)\Z", re.MULTILINE)


def _wasmer_words(module: str, args: Sequence[str], _pages: int) -> list[str]:
    return ["run", module, *(["--", *args] if args else [])]


def _wasmer_interpret(ended: Ended) -> tuple[bytes, bytes, int]:
    # its own errors come last, and end with a status that a guest may have as well
    found = _WASMER_ERROR.search(ended.stderr) if ended.status else None
    if found is not None:
        text = f"Wasmer: {ended.told(found[1])}"
        raise (Trap if b"RuntimeError" in found[1] else GuestError)(text)
    return ended.stdout, ended.stderr, ended.status


RUNTIMES: Final = {
    runtime.name: runtime
    for runtime in (
        Runtime(
            name="Wasmer",
            binary="wasmer",
            remedy="install Wasmer 4 or later, or set wasm_runtime_path",
            own_bytes=1024 * MIB,  # its compilers run in threads, each with a stack
            words=_wasmer_words,
            interpret=_wasmer_interpret,
            folders=("WASMER_DIR", "WASMER_CACHE_DIR"),
        ),
        Runtime(
            name="WasmEdge",
            binary="wasmedge",
            remedy="install WasmEdge 0.13 or later (on Debian 13: `apt-get install wasmedge`),"
            " or set wasm_runtime_path",
            own_bytes=256 * MIB,
            words=_edge_words,
            interpret=_edge_interpret,
        ),
    )
}
