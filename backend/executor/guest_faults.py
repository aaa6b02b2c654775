"""Says in this package's exceptions what wasmtime's traps and errors mean, with a backtrace of our own.

wasmtime demangles the names in its backtraces in native code, without a limit: two kilobytes of a C++ name can stand
for gigabytes. So modules are compiled without their names (see `loading.Compiling`), and the names of the few frames
shown here are read from the module when an error occurs.
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
"""What an adapter's refusal is raised as."""
FunctionNameOf = Callable[[int], str | None]  # the name of the guest's function with an index, as backtraces show it
MAX_FRAMES = 20  # of a backtrace
_OURS = ("bridge", "adapter")  # which no backtrace shows
_OUT_OF_MEMORY = ("mmap failed", "Cannot allocate memory", "failed to allocate", "os error 12")


def error_from_wasmtime(text: str, where: str) -> WasmError:
    """What wasmtime's error with the message `text` and the backtrace `where` stands for."""
    text = wasmtime_cause(text)
    if any(words in text for words in _OUT_OF_MEMORY):
        return HostBusy(text)
    if "exceeds memory limits" in text or "memory limit" in text:
        return MemoryLimit(text)
    return GuestError(text + where)


def timeout_error(
    deadline: Deadline, limits: Limits, setting_names: SettingNames, where: str = "", what: str = "the guest ran"
) -> GuestTimeout:
    """The error of a call whose deadline has passed while `what`."""
    advice = setting_names.more_time_advice(deadline.timeout_s, limits.timeout_s)
    return GuestTimeout(
        f"{what} longer than its time limit of {deadline.timeout_s:g} s and was stopped ({advice}){where}"
    )


def check_read_deadline(deadline: Deadline, limits: Limits, setting_names: SettingNames) -> None:
    """Raises GuestTimeout where reading a guest's outputs takes too long."""
    if time.monotonic() >= deadline.at:
        raise timeout_error(deadline, limits, setting_names, what="reading the outputs took")


def wasmtime_cause(text: str) -> str:
    """wasmtime's message without its backtrace: the cause alone where it has one."""
    head, separator, causes = text.partition("\n\nCaused by:\n")
    head = head.partition("wasm backtrace:\n")[0].strip()
    if not separator:
        return head
    told = "; ".join(line.strip() for line in causes.strip().splitlines())
    told = told.rpartition("wasm trap: ")[2].removeprefix("0: ")  # with signals the address of a fault comes first
    return told if not head or "error while executing" in head else f"{head}: {told}"


def format_backtrace(frames: Iterable[Any], name_of: FunctionNameOf) -> str:
    """The lines for wasmtime's `frames`, innermost first, behind a newline; "" where there are none. Our own modules
    have names, the guests are compiled without."""
    guests = (frame for frame in frames if frame.module_name not in _OURS)
    lines = [f"{i:>5}: {_line(frame, name_of)}" for i, frame in enumerate(itertools.islice(guests, MAX_FRAMES))]
    return "\n".join(["\nwasm backtrace:", *lines]) if lines else ""


def _line(frame: Any, name_of: FunctionNameOf) -> str:
    place = f"{frame.module_offset:#8x}" if 0 < frame.module_offset < 0xFFFFFFFF else " " * 8
    if frame.module_name:  # a loop of ours
        return f"{place} - {frame.module_name}!{frame.func_name or ''}"
    return f"{place} - {name_of(frame.func_index) or f'function {frame.func_index}'}"
