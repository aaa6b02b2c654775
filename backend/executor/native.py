"""The one module that touches wasmtime's raw C bindings.

Reasons (measured on wasmtime-py 50): ``Func.__call__`` costs 6-35 µs where a prepared raw call costs 0.4-1.6 µs; the
Python wrapper keeps the last host exception in a module global, so with threads errors reach the wrong caller; and the
pooling allocator has no Python face. Every native handle has one owner here, `Store`, with `close` and ``with``.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import mmap
import threading
import time
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, byref, c_bool, c_char_p, c_int64, c_size_t, c_uint64, c_void_p
from typing import Any

import numpy as np
import wasmtime
from wasmtime import _ffi as ffi

from .. import bounds
from ..bounds import PAGE
from ..errors import GuestError, GuestTimeout, ModuleError
from . import faults, stacks

POOL_MEMORIES = 64
POOL_SLOT_BYTES = 4 << 30  # the whole wasm32 space, so that compiled code needs no bounds checks
CHECKED_SLOT_BYTES = 256 << 20  # without signals
KEEP_RESIDENT_BYTES = 64 << 20
MAX_FRAMES = 20  # of a backtrace
OURS = ("bridge!", "adapter!")  # which no backtrace shows
INSTANCES, MEMORIES = 6, 6  # of a store: the guest's, its loop's, and our own

_dll: Any = ffi.dll
_dll_quick: Any = ctypes.PyDLL(None, handle=ffi.dll._handle)  # keeps the GIL: for calls that end in well under 1 µs


def _proto(name: str, restype: Any, *argtypes: Any, quick: bool = False) -> Any:
    # dll["x"] gives a new function object: the wrapper's own prototypes stay as they are.
    function = (_dll_quick if quick else _dll)[name]
    function.restype, function.argtypes = restype, list(argtypes)
    return function


_store_new = _proto("wasmtime_store_new", c_void_p, c_void_p, c_void_p, c_void_p)
_store_context = _proto("wasmtime_store_context", c_void_p, c_void_p, quick=True)
_store_delete = _proto("wasmtime_store_delete", None, c_void_p)
_store_limiter = _proto(
    "wasmtime_store_limiter", None, c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64, quick=True
)
_set_deadline = _proto("wasmtime_context_set_epoch_deadline", None, c_void_p, c_uint64, quick=True)
_set_wasi = _proto("wasmtime_context_set_wasi", c_void_p, c_void_p, c_void_p)
_pre_instantiate = _proto("wasmtime_instance_pre_instantiate", c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)
_instance_new = _proto("wasmtime_instance_new", c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_void_p)
_export_get = _proto(
    "wasmtime_instance_export_get", c_bool, c_void_p, c_void_p, c_char_p, c_size_t, c_void_p, quick=True
)
_call_unchecked = _proto("wasmtime_func_call_unchecked", c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p)
_memory_data = _proto("wasmtime_memory_data", c_void_p, c_void_p, c_void_p, quick=True)
_memory_data_size = _proto("wasmtime_memory_data_size", c_size_t, c_void_p, c_void_p, quick=True)
_memory_grow = _proto("wasmtime_memory_grow", c_void_p, c_void_p, c_void_p, c_uint64, c_void_p)
_global_get = _proto("wasmtime_global_get", None, c_void_p, c_void_p, c_void_p, quick=True)
_global_set = _proto("wasmtime_global_set", c_void_p, c_void_p, c_void_p, c_void_p, quick=True)
_error_delete = _proto("wasmtime_error_delete", None, c_void_p)
_trap_delete = _proto("wasm_trap_delete", None, c_void_p)
_trap_trace = _proto("wasm_trap_trace", None, c_void_p, c_void_p)
_error_trace = _proto("wasmtime_error_wasm_trace", None, c_void_p, c_void_p)
_deserialize = _proto("wasmtime_module_deserialize", c_void_p, c_void_p, c_void_p, c_size_t, c_void_p)

_EXTERN_OF = ffi.wasmtime_extern_t.of.offset
_KIND_FUNC, _KIND_MEMORY = 0, 3


class _Thread(threading.local):
    """What is known of a thread: the Store whose guest runs on it, for host functions, and the size of its stack."""

    def __init__(self) -> None:
        self.store: Any = None
        self.stack_bytes = stacks.of_this_thread()


current = _Thread()


def address(handle: Any) -> int:
    """The address inside a wasmtime-py object that owns a native pointer."""
    return ctypes.cast(handle.ptr(), c_void_p).value or 0


_live: dict[int, None] = {}  # keyed by address: single dict operations are atomic, a counter's are not


def live_stores() -> int:
    """How many stores exist in this process: the pool has room for a fixed number."""
    return len(_live)


# -- the pool of linear memories ---------------------------------------------------------------------------------------


def set_max_stack(config: wasmtime.Config, size: int) -> None:
    """Limit the guest's stack to `size` bytes. The stack for asynchronous calls, of which there are none, must not be
    smaller: wasmtime ends the process where it is."""
    ffi.wasmtime_config_async_stack_size_set(config.ptr(), max(size, 2 << 20))
    config.max_wasm_stack = size


def check_explicitly(config: wasmtime.Config) -> None:
    """Have code check its addresses instead of relying on signals; its memories need no more address space than they
    have."""
    ffi.wasmtime_config_signals_based_traps_set(config.ptr(), False)
    ffi.wasmtime_config_memory_reservation_set(config.ptr(), CHECKED_SLOT_BYTES)
    ffi.wasmtime_config_memory_guard_size_set(config.ptr(), 0)


def can_pool() -> bool:
    """Whether this process may reserve the pool's address space (it is reserved, not used).

    wasmtime aborts the process where the reservation fails, so the same reservation is tried here first.
    """
    try:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        mmap.mmap(-1, (POOL_MEMORIES + 2) * (POOL_SLOT_BYTES + (64 << 20)), flags=flags, prot=0).close()
    except (OSError, ValueError):
        return False
    return True


def enable_pooling(config: wasmtime.Config) -> None:
    """Give `config` the pooling allocator: a new instance reuses the resident pages of one that is gone (after they
    were cleared), which costs about a third of fresh pages from the kernel."""
    pool = ffi.wasmtime_pooling_allocation_config_new()
    for name, value in {
        "total_memories": POOL_MEMORIES,
        "total_core_instances": 4 * POOL_MEMORIES,
        "total_tables": 4 * POOL_MEMORIES,
        "max_memories_per_module": bounds.MAX_MEMORIES,
        "max_tables_per_module": bounds.MAX_TABLES,
        "table_elements": bounds.MAX_TABLE_ELEMENTS,
        "max_core_instance_size": bounds.MAX_INSTANCE_BYTES,
        "max_memory_size": POOL_SLOT_BYTES,
        "linear_memory_keep_resident": KEEP_RESIDENT_BYTES,
        "table_keep_resident": PAGE,
        "max_unused_warm_slots": 8,
    }.items():
        getattr(ffi, f"wasmtime_pooling_allocation_config_{name}_set")(pool, value)
    ffi.wasmtime_pooling_allocation_strategy_set(config.ptr(), pool)
    ffi.wasmtime_pooling_allocation_config_delete(pool)


def deserialize(engine: wasmtime.Engine, code: Any) -> wasmtime.Module:
    """The module in serialised machine code (any buffer), which must come from a trusted place: it is executed."""
    view = np.frombuffer(code, dtype=np.uint8)
    module = POINTER(ffi.wasmtime_module_t)()
    error = _deserialize(address(engine), view.ctypes.data, view.size, byref(module))
    if error:
        raise ModuleError(f"the compiled module cannot be loaded: {_error_text(error)}")
    return wasmtime.Module._from_ptr(module)


# -- errors ------------------------------------------------------------------------------------------------------------


def _error(pointer: int) -> wasmtime.WasmtimeError:
    return wasmtime.WasmtimeError._from_ptr(ctypes.cast(c_void_p(pointer), POINTER(ffi.wasmtime_error_t)))


def _error_text(pointer: int) -> str:
    return faults.cause(str(_error(pointer)))


def _raise_error(pointer: int, name_of: faults.NameOf | None) -> None:
    error = _error(pointer)
    if isinstance(error, wasmtime.ExitTrap):
        raise faults.GuestExit(error.code)
    raise faults.of_error(str(error), _frames(_error_trace, error.ptr()), name_of)


def _raise_trap(
    pointer: int, timeout_s: float, said: str, name_of: faults.NameOf | None, advise: faults.Advise | None
) -> None:
    trap = wasmtime.Trap._from_ptr(ctypes.cast(c_void_p(pointer), POINTER(ffi.wasm_trap_t)))
    where = faults.backtrace(_frames(_trap_trace, trap.ptr()), name_of)
    if trap.trap_code is wasmtime.TrapCode.INTERRUPT:
        raise faults.timed_out(timeout_s, advise, where)
    raise faults.of_trap(trap.message, said, where)


def _frames(trace: Any, pointer: Any) -> list[faults.Frame]:
    """The innermost frames of a trap or an error."""
    vector = ffi.wasm_frame_vec_t(0, None)
    trace(pointer, byref(vector))
    try:
        found = (_frame(vector.data[i]) for i in range(vector.size))
        shown = (frame for frame in found if frame.loop is None or not frame.loop.startswith(OURS))
        return list(itertools.islice(shown, MAX_FRAMES))
    finally:
        ffi.wasm_frame_vec_delete(byref(vector))


def _frame(frame: Any) -> faults.Frame:
    loop = None
    module: Any = ffi.wasmtime_frame_module_name(frame)
    if module:  # one of ours: guests are compiled without a name
        function: Any = ffi.wasmtime_frame_func_name(frame)
        loop = f"{ffi.to_str(module.contents)}!{ffi.to_str(function.contents) if function else ''}"
    return faults.Frame(ffi.wasm_frame_func_index(frame), ffi.wasm_frame_module_offset(frame), loop)


# -- stores ------------------------------------------------------------------------------------------------------------


class Extern:
    """An export of an instance: the raw struct, its kind, and the address that calls take."""

    __slots__ = ("is_function", "is_memory", "raw", "where")

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.is_function = raw.kind == _KIND_FUNC
        self.is_memory = raw.kind == _KIND_MEMORY
        self.where = ctypes.addressof(raw) + _EXTERN_OF


class Store:
    """One sandbox: a wasmtime store with its limits, and the guest instances in it.

    Not thread-safe: one thread at a time. Arrays made by `memory_view` keep the store alive; it is freed with the last
    of them. `close` frees it at once and must not be called while such arrays are still used.
    """

    __slots__ = (
        "__weakref__",
        "_ctx",
        "_ptr",
        "_trap",
        "_trap_ref",
        "advise",
        "deadline",
        "engine",
        "failure",
        "host_state",
        "name_of",
        "stack_bytes",
        "timeout_s",
        "used",
    )

    def __init__(
        self,
        engine: wasmtime.Engine,
        *,
        memory_bytes: int,
        max_stack_bytes: int = 1 << 20,
        name_of: faults.NameOf | None = None,
        advise: faults.Advise | None = None,
    ) -> None:
        self.engine = engine
        self.name_of = name_of  # of the guest's functions, for backtraces
        self.advise = advise  # about a call that was stopped at its deadline
        self.stack_bytes = max_stack_bytes + stacks.RESERVE_BYTES  # that a thread must have to run the guest
        self._ptr = _store_new(address(engine), None, None)
        _live[self._ptr] = None
        self._ctx = _store_context(self._ptr)
        self._trap = c_void_p()
        self._trap_ref = byref(self._trap)
        self.host_state: Any = None
        self.timeout_s = 0.0
        self.used = False  # something was instantiated in it, or was tried
        self.deadline = math.inf
        self.failure: BaseException | None = None  # what a host function raised: the reason of the trap
        self.limit_memory(memory_bytes)

    def limit_memory(self, size: int) -> None:
        """Let each memory of the store have `size` bytes at most from now on."""
        _store_limiter(self._ptr, size, bounds.MAX_TABLE_ELEMENTS, INSTANCES, 8, MEMORIES)

    def close(self, _live: dict[int, None] = _live, _delete: Any = _store_delete) -> None:
        """Free the store and everything in it. Idempotent. (The defaults outlive this module at interpreter exit.)"""
        if self._ptr:
            _live.pop(self._ptr, None)
            _delete(self._ptr)
            self._ptr = self._ctx = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def set_deadline(self, ticks: int, timeout_s: float, at: float = math.inf) -> None:
        """Interrupt the guest `ticks` epochs from now; `timeout_s` is for the message. `at` (``time.monotonic()``) is
        when `check_deadline` begins to raise."""
        self.timeout_s = timeout_s
        self.deadline = at
        _set_deadline(self._ctx, ticks)

    def check_deadline(self, what: str = "the guest ran") -> None:
        """Raises GuestTimeout past the deadline: for `what` the host does on a guest's behalf."""
        if time.monotonic() >= self.deadline:
            raise faults.timed_out(self.timeout_s, self.advise, what=what)

    def set_wasi(self, config: wasmtime.WasiConfig) -> None:
        """Give the store its WASI context; `config` is consumed."""
        error = _set_wasi(self._ctx, ctypes.cast(config._consume(), c_void_p))
        if error:
            raise GuestError(f"WASI cannot be set up: {_error_text(error)}")

    def instantiate(self, pre: wasmtime.InstancePre) -> Any:
        """Instantiate a linked module; its start function runs now. Returns the raw instance."""
        instance = ffi.wasmtime_instance_t()
        self._guarded(_pre_instantiate, address(pre), self._ctx, byref(instance), self._trap_ref)
        return instance

    def instantiate_with(self, module: wasmtime.Module, imports: list[Extern]) -> Any:
        """Instantiate `module` with `imports` (externs from `export`), in the order of its import section."""
        externs = (ffi.wasmtime_extern_t * len(imports))(*(extern.raw for extern in imports))
        instance = ffi.wasmtime_instance_t()
        self._guarded(_instance_new, self._ctx, address(module), externs, len(imports), byref(instance), self._trap_ref)
        return instance

    def export(self, instance: Any, name: bytes) -> Extern | None:
        """What `instance` exports as `name`, or None."""
        raw = ffi.wasmtime_extern_t()
        found = _export_get(self._ctx, byref(instance), name, len(name), byref(raw))
        return Extern(raw) if found else None

    def call(self, function: Extern, raw: Any, count: int) -> None:
        """Call `function` with `raw`, a block of `count` slots (see `slots`) for arguments, then results.

        The block must fit the function's type: nothing checks it."""
        if self.stack_bytes > current.stack_bytes:
            self._guarded(_call_unchecked, self._ctx, function.where, raw, count, self._trap_ref)
            return
        if self.host_state is None:
            error = _call_unchecked(self._ctx, function.where, raw, count, self._trap_ref)
        else:  # as `_run` does: a call less on the way that every request takes
            current.store = self
            try:
                error = _call_unchecked(self._ctx, function.where, raw, count, self._trap_ref)
            finally:
                current.store = None
        if error or self._trap.value:
            self._fail(error)

    def _guarded(self, native_call: Any, *args: Any) -> None:
        if self.stack_bytes <= current.stack_bytes:
            error = self._run(native_call, args)
        else:
            error = stacks.run_on_larger(self.stack_bytes, lambda: self._run(native_call, args))
        if error or self._trap.value:
            self._fail(error)

    def _run(self, native_call: Any, args: tuple[Any, ...]) -> int | None:
        if self.host_state is None:
            error: int | None = native_call(*args)
            return error
        current.store = self
        try:
            error = native_call(*args)
        finally:
            current.store = None  # else the thread would keep this store, with its memory, until its next guest
        return error

    def _fail(self, error: int | None) -> None:
        failure, self.failure = self.failure, None
        if self._trap.value:
            pointer, self._trap.value = self._trap.value, None
            if failure is None:
                _raise_trap(
                    pointer, self.timeout_s, getattr(self.host_state, "abort_message", ""), self.name_of, self.advise
                )
            frames = _frames(_trap_trace, pointer)
            _trap_delete(pointer)
        elif error:
            if failure is None:
                _raise_error(error, self.name_of)
            frames = _frames(_error_trace, error)
            _error_delete(error)
        if failure is not None:
            if isinstance(failure, GuestTimeout):  # which a host function found that the guest has called
                failure.args = (str(failure) + faults.backtrace(frames, self.name_of),)
            raise failure

    def global_value(self, extern: Extern) -> Any:
        """The value of a global that holds a number or a vector, for `set_global`."""
        value = ffi.wasmtime_val_t()
        _global_get(self._ctx, extern.where, byref(value))
        return value

    def set_global(self, extern: Extern, value: Any) -> None:
        """Set a mutable global to a value that `global_value` gave."""
        _global_set(self._ctx, extern.where, byref(value))

    # -- linear memory ---------------------------------------------------------------------------------------------

    def memory_size(self, memory: Extern) -> int:
        """The size of the extern `memory` in bytes."""
        size: int = _memory_data_size(self._ctx, memory.where)
        return size

    def memory_address(self, memory: Extern) -> int:
        """Where the first byte of `memory` lies in this process."""
        where: int | None = _memory_data(self._ctx, memory.where)
        return where or 0

    def memory_meter(self, memory: Extern) -> Callable[[], int]:
        """A function that tells the size of `memory` in bytes, as fast as can be."""
        return functools.partial(_memory_data_size, self._ctx, memory.where)

    def memory_view(self, memory: Extern) -> np.ndarray:
        """The whole linear memory as a writable uint8 array. It stays valid while the memory does not grow, and keeps
        this store alive."""
        size = _memory_data_size(self._ctx, memory.where)
        if not size:
            return np.empty(0, np.uint8)
        buffer: Any = (ctypes.c_uint8 * size).from_address(_memory_data(self._ctx, memory.where))
        buffer.store = self  # the array's base keeps the sandbox alive
        return np.frombuffer(buffer, dtype=np.uint8)

    def memory_grow(self, memory: Extern, pages: int) -> bool:
        """Grow by `pages`; False where the limit does not allow it."""
        previous = c_uint64()
        error = _memory_grow(self._ctx, memory.where, pages, byref(previous))
        if error:
            _error_text(error)  # takes and frees the error
        return not error


# -- host functions (see `callbacks`) ----------------------------------------------------------------------------------


HostCallback = CFUNCTYPE(c_size_t, c_void_p, c_void_p, POINTER(c_int64), c_size_t)
"""What wasmtime calls: data, the caller, arguments (results take their place) of 16 bytes each, their number. It
returns 0, or the trap that ends the guest."""

_define_function = _proto(
    "wasmtime_linker_define_func_unchecked",
    c_void_p,
    *(c_void_p, c_char_p, c_size_t, c_char_p, c_size_t, c_void_p, HostCallback, c_void_p, c_void_p),
)
_caller_export_get = _proto("wasmtime_caller_export_get", c_bool, c_void_p, c_char_p, c_size_t, c_void_p, quick=True)
_caller_context = _proto("wasmtime_caller_context", c_void_p, c_void_p, quick=True)
_trap_new = _proto("wasmtime_trap_new", c_size_t, c_char_p, c_size_t, quick=True)


def define_function(
    linker: wasmtime.Linker, module: bytes, name: bytes, kind: wasmtime.FuncType, callback: Any
) -> None:
    """Provide `callback`, a HostCallback that outlives everything linked here, as `module`.`name`."""
    where = (module, len(module), name, len(name))
    error = _define_function(address(linker), *where, address(kind), callback, None, None)
    assert not error, "the linker allows shadowing"


def caller_memory(caller: int) -> tuple[int, int]:
    """The address and size of the memory that the caller of a host function exports; (0, 0) without one."""
    raw = ffi.wasmtime_extern_t()
    if not _caller_export_get(caller, b"memory", 6, byref(raw)) or not Extern(raw).is_memory:
        return 0, 0
    context, where = _caller_context(caller), ctypes.addressof(raw) + _EXTERN_OF
    return _memory_data(context, where) or 0, _memory_data_size(context, where)


def new_trap() -> int:
    """A trap for a HostCallback to return, which takes it over."""
    trap: int = _trap_new(b"host", 4)
    return trap


def slots(count: int) -> Any:
    """An argument block for `Store.call`: write argument i at [2 * i]; results come back from [0] on."""
    return (c_int64 * (2 * max(count, 1)))()


def u32(value: int) -> int:
    """An i32 result as the unsigned number it is when it is a pointer or a size."""
    return value & 0xFFFFFFFF


def i32(value: int) -> int:
    """An i32 result as a signed number."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value
