"""Links a module with the host functions: WASI without files, network or environment, and AssemblyScript's abort.

`wasi` implements some of them; the others are wasmtime's, with an empty WASI context. No host function raises:
wasmtime-py stores an exception of a host function in a module variable, where a call of another thread would find it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

from ..errors import ModuleError
from ..wasm.binary import FuncType, ModuleInfo
from ..wasm.imports import HOST_FUNCTIONS
from .store import current
from .wasi import FAULT, FUNCTIONS, Function, GuestMemory

_KINDS = {"i32": wasmtime.ValType.i32, "i64": wasmtime.ValType.i64}


def link_guest(engine: wasmtime.Engine, module: wasmtime.Module, info: ModuleInfo) -> wasmtime.InstancePre:
    """Resolve the module's imports. Raises ModuleError for imports that `loadable` rejects."""
    linker = create_linker(engine, info)
    try:
        return linker.instantiate_pre(module)
    except wasmtime.WasmtimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
        raise ModuleError(f"{info.name} cannot be linked: {reason}") from None


def create_linker(engine: wasmtime.Engine, info: ModuleInfo) -> wasmtime.Linker:
    """A linker with every function that the module can import; `loadable` has checked its imports and their types."""
    linker = wasmtime.Linker(engine)
    linker.allow_shadowing = True
    if info.imports:
        linker.define_wasi()
        for name, function in FUNCTIONS.items():
            kind = HOST_FUNCTIONS[name]
            parameters, results = ([_KINDS[each]() for each in side] for side in (kind.params, kind.results))
            linker.define_func(
                *name, wasmtime.FuncType(parameters, results), _entry(function, kind), access_caller=True
            )
    return linker


def _entry(function: Function, kind: FuncType) -> Callable[..., int | None]:
    """The callback for wasmtime. A bad pointer is an errno for the guest, as defined by WASI. After the deadline the
    guest is interrupted at its next loop or call."""
    masks = [(1 << int(each[1:])) - 1 for each in kind.params]

    def enter(caller: Any, *values: int) -> int | None:
        state, errno = current.state, 0
        assert state is not None, "guests run inside `Store.run`"
        if not state.is_late():
            try:
                errno = function(GuestMemory(caller), state, *[value & mask for value, mask in zip(values, masks)])
            except Exception:  # noqa: BLE001  # caused by the guest's arguments
                errno = FAULT
        if state.late:
            ffi.wasmtime_context_set_epoch_deadline(caller._context(), 0)
        return errno if kind.results else None

    return enter
