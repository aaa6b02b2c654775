"""ctypes declarations of the native executor core: its structs and functions (``native/core.h``)."""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    c_bool,
    c_char,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    sizeof,
)
from typing import Any

from wasmtime import _ffi as ffi

from ..constants import MAX_OUT_RANK

WASMTIME_LIBRARY = str(ffi.dll._name)
"""The path of the wasmtime library that wasmtime-py has loaded."""
MESSAGE_BYTES = 16 << 10


class CorePiece(ctypes.Structure):
    """A contiguous part of a tensor's data (``struct core_piece``)."""

    _fields_ = (("data", c_void_p), ("bytes", c_uint64))


class CoreTensor(ctypes.Structure):
    """One input or output of a call (``struct core_tensor``)."""

    _fields_ = (
        ("rank", c_int32),
        ("pieces", c_uint32),
        ("bytes", c_uint64),
        ("piece", POINTER(CorePiece)),
        ("dims", c_int64 * MAX_OUT_RANK),
        ("slice", c_uint64),
        ("data", c_void_p),
    )


class CoreCall(ctypes.Structure):
    """One guest call: its pool, tensors and result (``struct core_call``)."""

    _fields_ = (
        ("pool", c_void_p),
        ("timeout_ns", c_uint64),
        ("inputs", POINTER(CoreTensor)),
        ("outputs", POINTER(CoreTensor)),
        ("kind", c_int32),
        ("message_bytes", c_uint32),
        ("passes", c_uint32),
        ("generation", c_uint32),
        ("instance", c_void_p),
        ("started_ns", c_uint64),
        ("ended_ns", c_uint64),
        ("deadline_ns", c_uint64),
        ("changed", c_bool),
        ("message", c_char * MESSAGE_BYTES),
    )


class CoreCounters(ctypes.Structure):
    """Counters of one program (``struct core_stats``)."""

    _fields_ = tuple((name, c_uint64) for name in ("calls", "traps", "timeouts", "instances", "guest_ns", "high_water"))


OutputCallback = ctypes.CFUNCTYPE(None, c_void_p, ctypes.c_int, POINTER(c_char), c_size_t)


def struct_sizes() -> int:
    """The sizes of wasmtime's structs in wasmtime-py, one byte each, in the order of ``core_struct_sizes``."""
    others = ("wasmtime_func_t", "wasmtime_memory_t", "wasmtime_instance_t", "wasmtime_val_raw_t", "wasm_byte_vec_t")
    sizes = (sizeof(ffi.wasmtime_extern_t), ffi.wasmtime_extern_t.of.offset, *(sizeof(getattr(ffi, o)) for o in others))
    return sum(size << 8 * i for i, size in enumerate(sizes))


class Core:
    """The loaded library. Raises OSError or ValueError if it cannot be used with this wasmtime."""

    def __init__(self, path: str, wasmtime: str = WASMTIME_LIBRARY) -> None:
        library = ctypes.CDLL(path)

        def function(name: str, result: Any, *arguments: Any) -> Any:
            found: Any = getattr(library, name, None)
            if found is None:
                raise ValueError(f"it does not export {name}")
            found.restype, found.argtypes = result, list(arguments)
            return found

        self.load = function("core_load", c_void_p, c_void_p, c_size_t, OutputCallback, c_void_p, c_char_p, c_size_t)
        self.unload = function("core_unload", None, c_void_p)
        self.pool_new = function("core_pool_new", c_void_p, c_void_p)
        self.pool_clear = function("core_pool_clear", None, c_void_p)
        self.pool_free = function("core_pool_free", None, c_void_p)
        self.run = function("core_run", c_int32, c_void_p, c_uint64)
        self.lend = function("core_lend", c_int32, c_void_p, c_uint64)
        self.end = function("core_end", c_int32, c_void_p)
        self.abort = function("core_abort", None, c_void_p)
        self.release = function("core_release", None, c_void_p)
        self.stats = function("core_stats", CoreCounters, c_void_p)
        self.map = function("core_map", c_void_p, c_int, c_uint64, c_uint64)
        self.mapping_data = function("core_mapping_data", c_void_p, c_void_p)
        self.mapping_intact = function("core_mapping_intact", c_uint64, c_void_p)
        self.unmap = function("core_unmap", None, c_void_p)
        self.instances = function("core_instances", c_uint32)
        self.set = function("core_set", None, c_void_p)
        if function("core_struct_sizes", c_uint64)() != struct_sizes():
            raise ValueError("it was built for a different version of wasmtime")
        error = function("core_open", c_char_p, c_char_p)(wasmtime.encode())
        if error:
            raise ValueError(error.decode("utf-8", "replace"))
