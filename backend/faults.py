"""Turns wasmtime's traps and errors into this package's exceptions, with a backtrace of our own.

wasmtime demangles the names in its backtraces in native code, without a limit: two kilobytes of a C++ name can stand
for gigabytes. So modules are compiled without their names (see `loading.load`), and the names of the
few frames shown here are read from the module when an error occurs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, byref, c_void_p
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

from . import messages
from .errors import GuestError, GuestTimeout, HostBusy, MemoryLimit, ModuleError, Trap

MAX_FRAMES = 20
NameOf = Callable[[int], str | None]  # the name of the guest's function with an index
_POOL_FULL = "maximum concurrent"
_NO_ROOM = ("mmap failed", "Cannot allocate memory", "failed to allocate", "os error 12")


class GuestExit(Exception):
    """The guest called WASI's ``proc_exit``."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class PoolFull(HostBusy):
    """Every slot of the engine's pool is taken."""


def error_text(pointer: int) -> str:
    """The message of the wasmtime error at `pointer`, which is freed."""
    return _cause(str(_error(pointer)))


def raise_error(pointer: int, name_of: NameOf | None) -> None:
    """Raise what the wasmtime error at `pointer` stands for, which is freed."""
    error = _error(pointer)
    if isinstance(error, wasmtime.ExitTrap):
        raise GuestExit(error.code)
    text = _cause(str(error))
    if _POOL_FULL in text:
        raise PoolFull(text)
    if any(words in text for words in _NO_ROOM):
        raise HostBusy(text)
    if "exceeds memory limits" in text or "memory limit" in text:
        raise MemoryLimit(text)
    raise GuestError(text + _backtrace(ffi.wasmtime_error_wasm_trace, error.ptr(), name_of))


def raise_trap(pointer: int, timeout_s: float, said: str, name_of: NameOf | None) -> None:
    """Raise Trap or GuestTimeout for the wasmtime trap at `pointer`, which is freed. `said` are the guest's words."""
    trap = wasmtime.Trap._from_ptr(ctypes.cast(c_void_p(pointer), POINTER(ffi.wasm_trap_t)))
    where = _backtrace(ffi.wasm_trap_trace, trap.ptr(), name_of)
    if trap.trap_code is wasmtime.TrapCode.INTERRUPT:
        raise GuestTimeout(
            f"the guest ran longer than its time limit of {timeout_s:g} s and was stopped"
            f" (raise wasm.timeout_ms if it needs longer){where}"
        )
    raise Trap(f"the guest trapped: {said}{': ' if said else ''}{_cause(trap.message)}{where}")


def load_error(pointer: int) -> ModuleError:
    """The error for compiled code that wasmtime refuses."""
    return ModuleError(f"the compiled module cannot be loaded: {error_text(pointer)}")


def _error(pointer: int) -> wasmtime.WasmtimeError:
    return wasmtime.WasmtimeError._from_ptr(ctypes.cast(c_void_p(pointer), POINTER(ffi.wasmtime_error_t)))


def _cause(text: str) -> str:
    """wasmtime's message without its backtrace, the cause alone where it has one."""
    head, separator, cause = text.partition("\n\nCaused by:\n")
    head = head.partition("wasm backtrace:\n")[0].strip()
    if not separator:
        return head
    cause = "; ".join(line.strip() for line in cause.strip().splitlines())
    cause = cause.removeprefix("wasm trap: ").removeprefix("0: ")
    return cause if not head or "error while executing" in head else f"{head}: {cause}"


def _backtrace(trace: Any, pointer: Any, name_of: NameOf | None) -> str:
    """The frames of a trap or an error, innermost first: offset in the module and function."""
    frames = ffi.wasm_frame_vec_t(0, None)
    trace(pointer, byref(frames))
    try:
        lines = [_frame(i, frames.data[i], name_of) for i in range(min(frames.size, MAX_FRAMES))]
        more = [f"  ... and {frames.size - MAX_FRAMES} more"] if frames.size > MAX_FRAMES else []
    finally:
        ffi.wasm_frame_vec_delete(byref(frames))
    return "\n".join(["\nwasm backtrace:", *lines, *more]) if lines else ""


def _frame(number: int, frame: Any, name_of: NameOf | None) -> str:
    module: Any = ffi.wasmtime_frame_module_name(frame)  # a pointer, false where it is null
    index, offset = ffi.wasm_frame_func_index(frame), ffi.wasm_frame_module_offset(frame)
    if module:  # a loop of ours: guests are compiled without a name
        label = f"{ffi.to_str(module.contents)}!{ffi.to_str(ffi.wasmtime_frame_func_name(frame).contents)}"
    else:
        label = (name_of(index) if name_of is not None else None) or f"function {index}"
    place = f"{offset:#8x}" if 0 < offset < 0xFFFFFFFF else " " * 8
    return f"{number:>5}: {place} - {messages.name(label)}"
