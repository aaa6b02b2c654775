"""Sandboxes: wasmtime stores with limits and a deadline, whose errors are this package's own."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from ctypes import byref, create_string_buffer
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import wasmtime
from wasmtime import _ffi as ffi
from wasmtime._extern import wrap_extern
from wasmtime._trap import Frame, FrameList

from ..compile.engine import ticks_until
from ..constants import MAX_TABLE_ELEMENTS
from ..errors import GuestError, Trap, WasmError
from ..limits import Limits
from ..setting_names import SettingNames
from .executor import Deadline, Stats
from .guest_faults import FunctionNameOf, error_from_wasmtime, format_backtrace, timeout_error, wasmtime_cause
from .host_state import HostState
from .stacks import RESERVE_BYTES, run_on_larger_stack, thread_stack_bytes

T = TypeVar("T")
INSTANCES, TABLES, MEMORIES = 6, 8, 6  # of a store: the guest's, its loop's, and our own
_live: weakref.WeakSet[Store] = weakref.WeakSet()


def live_stores() -> int:
    """How many stores exist in this process."""
    return len(_live)


class _Thread(threading.local):
    """The size of a thread's stack, and what the guest that runs on it has of the host."""

    def __init__(self) -> None:
        self.state: HostState | None = None
        self.stack_bytes = thread_stack_bytes()


current = _Thread()


@dataclass(frozen=True)
class LinkedModules:
    """A plan's parts, compiled and linked, and what bounds their instances."""

    engine: wasmtime.Engine
    guest: wasmtime.InstancePre
    others: Sequence[wasmtime.Module]
    name_of: FunctionNameOf  # of the guest's functions
    limits: Limits
    setting_names: SettingNames
    stats: Stats


class Store(wasmtime.Store):
    """One sandbox and the guest instances in it; `close` frees it all. Not thread-safe: one thread at a time."""

    def __init__(self, linked: LinkedModules, state: HostState, deadline: Deadline) -> None:
        super().__init__(linked.engine)
        _live.add(self)
        self.state = state
        self._linked = linked
        # that a thread must have to run the guest
        self._stack_bytes = linked.limits.max_stack_bytes + RESERVE_BYTES
        self.limit_memory(linked.limits.max_memory_bytes)
        self.arm(deadline)

    def limit_memory(self, size: int) -> None:
        """Let each memory of the store have `size` bytes at most from now on."""
        self.set_limits(size, MAX_TABLE_ELEMENTS, INSTANCES, TABLES, MEMORIES)

    def arm(self, deadline: Deadline) -> None:
        """Have the guest interrupted at `deadline`."""
        self._deadline = deadline
        self.state.start(deadline.at)
        self.set_epoch_deadline(ticks_until(deadline.at))

    def give_wasi(self, argv: Sequence[str] = ()) -> None:
        """Give the guest WASI: `argv`, and nothing else that wasmtime's own functions would reach."""
        config = wasmtime.WasiConfig()
        config.argv = list(argv)
        self.set_wasi(config)

    def export(self, instance: wasmtime.Instance, name: str) -> Any:
        """The function, memory, global or table that an instance exports as `name`, or None. wasmtime-py's mapping
        lists all exports, of which a guest may have a hundred thousand."""
        found, text = ffi.wasmtime_extern_t(), name.encode()
        where = self._context(), byref(instance._instance), create_string_buffer(text), len(text), byref(found)
        return wrap_extern(found) if ffi.wasmtime_instance_export_get(*where) else None

    def view(self, memory: wasmtime.Memory) -> np.ndarray:
        """The whole linear memory as a writable uint8 array, while it does not grow and the store is open."""
        size = memory.data_len(self)
        buffer: Any = memory.get_buffer_ptr(self, size) if size else b""
        return np.frombuffer(buffer, np.uint8)

    def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """The result of `call`, in which the guest runs. Raises what `faults` makes of its failure."""
        try:
            if self._stack_bytes <= current.stack_bytes:
                result = self._with_state(call, *arguments)
            else:
                result = run_on_larger_stack(self._stack_bytes, lambda: self._with_state(call, *arguments))
        except wasmtime.ExitTrap as leaving:
            raise self._of_exit(leaving.code) from None
        except wasmtime.WasmtimeError as error:
            raise self._of_error(error) from None
        except wasmtime.Trap as trap:
            raise self._of_trap(trap) from None
        if self.state.late:  # in a host function after which it did nothing that could be interrupted
            raise self._timed_out()
        return result

    def _with_state(self, call: Callable[..., T], *arguments: Any) -> T:
        current.state = self.state
        try:
            return call(*arguments)
        finally:
            current.state = None  # else the thread would keep it until its next guest

    def _timed_out(self, where: str = "") -> WasmError:
        return timeout_error(self._deadline, self._linked.limits, self._linked.setting_names, where)

    def _of_exit(self, code: int) -> WasmError:
        if self.state.late:
            return self._timed_out()
        self.state.exit_code = code
        return GuestError(f"the guest ended itself with exit code {code} instead of returning")

    def _of_error(self, error: wasmtime.WasmtimeError) -> WasmError:
        frames = FrameList(error)
        ffi.wasmtime_error_wasm_trace(error.ptr(), byref(frames.vec))
        found = (Frame._from_ptr(frames.vec.data[i], frames) for i in range(frames.vec.size))
        return error_from_wasmtime(str(error), format_backtrace(found, self._linked.name_of))

    def _of_trap(self, trap: wasmtime.Trap) -> WasmError:
        if self.state.late:  # in a host function: it was not the guest that ran
            return self._timed_out()
        where = format_backtrace(trap.frames, self._linked.name_of)
        if trap.trap_code is wasmtime.TrapCode.INTERRUPT:
            return self._timed_out(where)
        said = f"{self.state.abort_message}: " if self.state.abort_message else ""
        return Trap(f"the guest trapped: {said}{wasmtime_cause(trap.message)}{where}")
