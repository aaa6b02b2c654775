"""Host functions as raw callbacks of wasmtime, whose errors end the guest's call.

wasmtime-py keeps what a host function raised in a variable of its module, where another thread's call can pick it up.
Here the error stays with the store that ran the guest, and `native.Store` raises it in place of the trap. A call also
costs less: an ``fd_write`` took 7 µs, against 25 µs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import CFUNCTYPE, POINTER, byref, c_bool, c_char_p, c_int64, c_size_t, c_void_p
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

from . import native
from .native import Store

_PARAMETERS = {"i32": (1 << 32) - 1, "i64": (1 << 64) - 1}
_Raw = CFUNCTYPE(c_size_t, c_void_p, c_void_p, POINTER(c_int64), c_size_t)
_dll: Any = ffi.dll
_quick: Any = ctypes.PyDLL(None, handle=ffi.dll._handle)  # keeps the GIL: for calls that end in well under 1 µs

_define = _dll["wasmtime_linker_define_func_unchecked"]
_define.restype = c_void_p
_define.argtypes = [c_void_p, c_char_p, c_size_t, c_char_p, c_size_t, c_void_p, _Raw, c_void_p, c_void_p]
_export_get = _quick["wasmtime_caller_export_get"]
_export_get.restype, _export_get.argtypes = c_bool, [c_void_p, c_char_p, c_size_t, c_void_p]
_context = _quick["wasmtime_caller_context"]
_context.restype, _context.argtypes = c_void_p, [c_void_p]
_data = _quick["wasmtime_memory_data"]
_data.restype, _data.argtypes = c_void_p, [c_void_p, c_void_p]
_data_size = _quick["wasmtime_memory_data_size"]
_data_size.restype, _data_size.argtypes = c_size_t, [c_void_p, c_void_p]
_trap_new = _quick["wasmtime_trap_new"]
_trap_new.restype, _trap_new.argtypes = c_size_t, [c_char_p, c_size_t]
_EXTERN_OF = ffi.wasmtime_extern_t.of.offset
_KIND_MEMORY = 3


class Memory:
    """The memory that the calling instance exports, for the length of one host function."""

    __slots__ = ("_base", "size")

    def __init__(self, caller: int) -> None:
        """Raises IndexError where there is none."""
        extern = ffi.wasmtime_extern_t()
        found = _export_get(caller, b"memory", 6, byref(extern))
        kind: Any = extern.kind
        if not found or kind != _KIND_MEMORY:
            raise IndexError("no memory is exported")
        context, where = _context(caller), ctypes.addressof(extern) + _EXTERN_OF
        self._base: int = _data(context, where) or 0
        self.size: int = _data_size(context, where)

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start`. Raises IndexError outside of the memory."""
        self.check(start, size)
        return ctypes.string_at(self._base + start, size)

    def write(self, start: int, data: bytes) -> None:
        """Put `data` at `start`. Raises IndexError outside of the memory."""
        self.check(start, len(data))
        ctypes.memmove(self._base + start, data, len(data))

    def check(self, start: int, size: int) -> None:
        """Raises IndexError where `size` bytes from `start` are not inside the memory."""
        if start < 0 or start + size > self.size:
            raise IndexError("outside memory")


HostFunction = Callable[..., "int | None"]
"""Gets the store and the caller's handle, then the parameters, unsigned. What it raises ends the guest's call."""


class Callback:
    """One host function that modules import as `module`.`name`. It is made once, and lives as long as the process."""

    def __init__(
        self, module: str, name: str, parameters: Sequence[str], results: Sequence[str], function: HostFunction
    ) -> None:
        self.module, self.name = module, name
        self.parameters, self.results = tuple(parameters), tuple(results)
        self._native = _Raw(_entry(function, [_PARAMETERS[kind] for kind in parameters], bool(results)))

    def define(self, linker: wasmtime.Linker) -> None:
        """Provide the function to the modules that `linker` links."""
        kinds = {"i32": wasmtime.ValType.i32, "i64": wasmtime.ValType.i64}
        signature = wasmtime.FuncType([kinds[k]() for k in self.parameters], [kinds[k]() for k in self.results])
        module, name = self.module.encode(), self.name.encode()
        error = _define(
            native.address(linker),
            module,
            len(module),
            name,
            len(name),
            native.address(signature),
            self._native,
            None,
            None,
        )
        assert not error, "the linker allows shadowing"


def _entry(function: HostFunction, masks: list[int], returns: bool) -> Callable[[Any, Any, Any, int], int]:
    places = [(2 * i, mask) for i, mask in enumerate(masks)]  # a slot has 16 bytes

    def enter(_data: Any, caller: Any, raw: Any, _count: int) -> int:
        store: Store = native.current.store
        try:
            result = function(store, caller, *[raw[place] & mask for place, mask in places])
        except BaseException as error:  # noqa: BLE001  # `Store.call` raises it: nothing may pass through native frames
            store.failure = error
            trap: int = _trap_new(b"host", 4)
            return trap
        if returns:
            raw[0] = result
        return 0

    return enter
