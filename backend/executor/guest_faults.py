"""Converts wasmtime's traps and errors to this package's exceptions, with backtraces formatted here.

wasmtime demangles the names in its backtraces in native code, without a limit: two kilobytes of a C++ name can expand
to gigabytes. So modules are compiled without their names (see `loading.ModuleCompiler`), and the names of the few
frames shown here are read from the module when an error occurs.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import AbiViolation, GuestError, GuestStatus, GuestTimeout, HostBusy, InputError, MemoryLimit, WasmError
from ..limits import Limits
from ..plan.control import ABI, INPUT, MEMORY, OUTPUT, STATUS
from ..setting_names import SettingNames
from .executor import Deadline

ADAPTER_ERRORS: dict[int, type[WasmError]] = {
    INPUT: InputError,
    ABI: AbiViolation,
    STATUS: GuestStatus,
    MEMORY: MemoryLimit,
    OUTPUT: GuestError,
}
"""The exception for each error status of the adapter."""
FunctionNameOf = Callable[[int], str | None]
"""Maps the index of a guest function to its name in backtraces."""
MAX_FRAMES = 20
"""Maximum number of frames in a backtrace."""
_HIDDEN_MODULES = ("bridge", "adapter")
_OUT_OF_MEMORY = ("mmap failed", "Cannot allocate memory", "failed to allocate", "os error 12")


def error_from_wasmtime(text: str, where: str) -> WasmError:
    """The exception for a wasmtime error with the message `text` and the formatted backtrace `where`."""
    text = wasmtime_cause(text)
    if any(words in text for words in _OUT_OF_MEMORY):
        return HostBusy(text)
    if "exceeds memory limits" in text or "memory limit" in text:
        return MemoryLimit(text)
    return GuestError(text + where)


def timeout_error(
    deadline: Deadline, limits: Limits, setting_names: SettingNames, where: str = "", what: str = "the guest ran"
) -> GuestTimeout:
    """The error of a call that exceeded its deadline; `what` is the activity, as the subject and verb of a sentence."""
    advice = setting_names.more_time_advice(deadline.timeout_s, limits.timeout_s)
    return GuestTimeout(
        f"{what} longer than its time limit of {deadline.timeout_s:g} s and was stopped ({advice}){where}"
    )


def check_read_deadline(deadline: Deadline, limits: Limits, setting_names: SettingNames) -> None:
    """Raise GuestTimeout if the deadline passes while a guest's outputs are read."""
    if time.monotonic() >= deadline.at:
        raise timeout_error(deadline, limits, setting_names, what="reading the outputs took")


def wasmtime_cause(text: str) -> str:
    """The cause in a wasmtime message, or the message without its backtrace if it has no causes."""
    head, separator, causes = text.partition("\n\nCaused by:\n")
    head = head.partition("wasm backtrace:\n")[0].strip()
    if not separator:
        return head
    cause = "; ".join(line.strip() for line in causes.strip().splitlines())
    cause = cause.rpartition("wasm trap: ")[2].removeprefix("0: ")  # with signals the address of a fault precedes it
    return cause if not head or "error while executing" in head else f"{head}: {cause}"


def format_backtrace(frames: Iterable[Any], name_of: FunctionNameOf) -> str:
    """A newline and one line for each of wasmtime's `frames`, innermost first; "" without frames.

    Generated modules have a name; guests are compiled without names.
    """
    guests = (frame for frame in frames if frame.module_name not in _HIDDEN_MODULES)
    lines = [f"{i:>5}: {_line(frame, name_of)}" for i, frame in enumerate(itertools.islice(guests, MAX_FRAMES))]
    return "\n".join(["\nwasm backtrace:", *lines]) if lines else ""


def _line(frame: Any, name_of: FunctionNameOf) -> str:
    offset = f"{frame.module_offset:#8x}" if 0 < frame.module_offset < 0xFFFFFFFF else " " * 8
    if frame.module_name:  # a generated loop
        return f"{offset} - {frame.module_name}!{frame.func_name or ''}"
    return f"{offset} - {name_of(frame.func_index) or f'function {frame.func_index}'}"
