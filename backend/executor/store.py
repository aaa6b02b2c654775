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
INSTANCES, TABLES, MEMORIES = 6, 8, 6
"""Limits of a store, for the guest, its loop, the bridge and the adapter together."""
_live: weakref.WeakSet[Store] = weakref.WeakSet()


def live_stores() -> int:
    """The number of stores in this process."""
    return len(_live)


class _Thread(threading.local):
    """The stack size of a thread, and the host state of the guest that runs on it."""

    def __init__(self) -> None:
        self.state: HostState | None = None
        self.stack_bytes = thread_stack_bytes()


current = _Thread()


@dataclass(frozen=True)
class LinkedModules:
    """The modules of a plan, compiled and linked, with the limits of their instances."""

    engine: wasmtime.Engine
    guest: wasmtime.InstancePre
    others: Sequence[wasmtime.Module]
    name_of: FunctionNameOf
    limits: Limits
    setting_names: SettingNames
    stats: Stats


class Store(wasmtime.Store):
    """One sandbox with its guest instances; `close` frees all of it. Not thread-safe."""

    def __init__(self, linked: LinkedModules, state: HostState, deadline: Deadline) -> None:
        super().__init__(linked.engine)
        _live.add(self)
        self.state = state
        self._linked = linked
        # minimum stack of a thread that runs the guest
        self._stack_bytes = linked.limits.max_stack_bytes + RESERVE_BYTES
        self.limit_memory(linked.limits.max_memory_bytes)
        self.arm(deadline)

    def limit_memory(self, size: int) -> None:
        """Limit each memory of the store to `size` bytes from now on."""
        self.set_limits(size, MAX_TABLE_ELEMENTS, INSTANCES, TABLES, MEMORIES)

    def arm(self, deadline: Deadline) -> None:
        """Interrupt the guest at `deadline`."""
        self._deadline = deadline
        self.state.start(deadline.at)
        self.set_epoch_deadline(ticks_until(deadline.at))

    def set_wasi_arguments(self, argv: Sequence[str] = ()) -> None:
        """Configure wasmtime's WASI functions with `argv`, and without files, environment or network."""
        config = wasmtime.WasiConfig()
        config.argv = list(argv)
        self.set_wasi(config)

    def export(self, instance: wasmtime.Instance, name: str) -> Any:
        """The function, memory, global or table that an instance exports as `name`, or None.

        wasmtime-py's mapping would list all exports, and a guest can have a hundred thousand of them.
        """
        item, text = ffi.wasmtime_extern_t(), name.encode()
        arguments = self._context(), byref(instance._instance), create_string_buffer(text), len(text), byref(item)
        return wrap_extern(item) if ffi.wasmtime_instance_export_get(*arguments) else None

    def view(self, memory: wasmtime.Memory) -> np.ndarray:
        """The linear memory as a writable uint8 array, valid until it grows or the store is closed."""
        size = memory.data_len(self)
        buffer: Any = memory.get_buffer_ptr(self, size) if size else b""
        return np.frombuffer(buffer, np.uint8)

    def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """The result of `call`, which runs the guest. Its failure is raised as an exception of this package."""
        try:
            if self._stack_bytes <= current.stack_bytes:
                result = self._with_state(call, *arguments)
            else:
                result = run_on_larger_stack(self._stack_bytes, lambda: self._with_state(call, *arguments))
        except wasmtime.ExitTrap as leaving:
            raise self._exit_error(leaving.code) from None
        except wasmtime.WasmtimeError as error:
            raise self._convert_error(error) from None
        except wasmtime.Trap as trap:
            raise self._convert_trap(trap) from None
        if self.state.late:  # in a host function, after which the guest reached no interruption point
            raise self._timed_out()
        return result

    def _with_state(self, call: Callable[..., T], *arguments: Any) -> T:
        current.state = self.state
        try:
            return call(*arguments)
        finally:
            current.state = None  # otherwise the thread would keep it alive until its next guest

    def _timed_out(self, where: str = "") -> WasmError:
        return timeout_error(self._deadline, self._linked.limits, self._linked.setting_names, where)

    def _exit_error(self, code: int) -> WasmError:
        if self.state.late:
            return self._timed_out()
        self.state.exit_code = code
        return GuestError(f"the guest exited with code {code} instead of returning")

    def _convert_error(self, error: wasmtime.WasmtimeError) -> WasmError:
        frames = FrameList(error)
        ffi.wasmtime_error_wasm_trace(error.ptr(), byref(frames.vec))
        trace = (Frame._from_ptr(frames.vec.data[i], frames) for i in range(frames.vec.size))
        return error_from_wasmtime(str(error), format_backtrace(trace, self._linked.name_of))

    def _convert_trap(self, trap: wasmtime.Trap) -> WasmError:
        if self.state.late:  # in a host function, so a backtrace of the guest would mislead
            return self._timed_out()
        where = format_backtrace(trap.frames, self._linked.name_of)
        if trap.trap_code is wasmtime.TrapCode.INTERRUPT:
            return self._timed_out(where)
        message = f"{self.state.abort_message}: " if self.state.abort_message else ""
        return Trap(f"the guest trapped: {message}{wasmtime_cause(trap.message)}{where}")
