"""Says in this package's exceptions what wasmtime's traps and errors mean, with a backtrace of our own.

wasmtime demangles the names in its backtraces in native code, without a limit: two kilobytes of a C++ name can stand
for gigabytes. So modules are compiled without their names (see `loading.Compiling`), and the names of the few frames
shown here are read from the module when an error occurs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .. import messages
from ..errors import (
    AbiViolation,
    GuestError,
    GuestStatus,
    GuestTimeout,
    HostBusy,
    InputError,
    MemoryLimit,
    Trap,
    WasmError,
)
from ..plan import control

REFUSALS: dict[int, type[WasmError]] = {
    control.INPUT: InputError,
    control.ABI: AbiViolation,
    control.STATUS: GuestStatus,
    control.MEMORY: MemoryLimit,
    control.OUTPUT: GuestError,
}
"""What an adapter's refusal is raised as."""
NameOf = Callable[[int], str | None]  # the name of the guest's function with an index
_NO_ROOM = ("mmap failed", "Cannot allocate memory", "failed to allocate", "os error 12")


class Frame(NamedTuple):
    """A frame of a backtrace: the function's index, the offset in the module, and the name if it is a loop of ours."""

    function: int
    offset: int
    loop: str | None


class GuestExit(Exception):
    """The guest called WASI's ``proc_exit``."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


def of_error(text: str, where: str) -> WasmError:
    """What wasmtime's error with the message `text` and the backtrace `where` stands for."""
    text = cause(text)
    if any(words in text for words in _NO_ROOM):
        return HostBusy(text)
    if "exceeds memory limits" in text or "memory limit" in text:
        return MemoryLimit(text)
    return GuestError(text + where)


def timed_out(timeout_s: float, advice: str, where: str, what: str) -> GuestTimeout:
    """The error of a call whose deadline has passed while `what`."""
    return GuestTimeout(f"{what} longer than its time limit of {timeout_s:g} s and was stopped ({advice}){where}")


def of_trap(text: str, said: str, where: str) -> Trap:
    """The error of a guest that trapped with wasmtime's message `text`, after it `said` something itself."""
    return Trap(f"the guest trapped: {said}{': ' if said else ''}{cause(text)}{where}")


def cause(text: str) -> str:
    """wasmtime's message without its backtrace: the cause alone where it has one."""
    head, separator, causes = text.partition("\n\nCaused by:\n")
    head = head.partition("wasm backtrace:\n")[0].strip()
    if not separator:
        return head
    told = "; ".join(line.strip() for line in causes.strip().splitlines())
    told = told.rpartition("wasm trap: ")[2].removeprefix("0: ")  # with signals the address of a fault comes first
    return told if not head or "error while executing" in head else f"{head}: {told}"


def backtrace(frames: Sequence[Frame], name_of: NameOf) -> str:
    """The lines for `frames`, innermost first, behind a newline; "" where there are none."""
    lines = [f"{i:>5}: {_place(frame)} - {_label(frame, name_of)}" for i, frame in enumerate(frames)]
    return "\n".join(["\nwasm backtrace:", *lines]) if lines else ""


def _place(frame: Frame) -> str:
    return f"{frame.offset:#8x}" if 0 < frame.offset < 0xFFFFFFFF else " " * 8


def _label(frame: Frame, name_of: NameOf) -> str:
    if frame.loop is not None:
        return frame.loop
    return messages.name(name_of(frame.function) or f"function {frame.function}")
