"""Links a module with what the host gives to guests: WASI without files, network or environment, and AssemblyScript's
abort.

The functions of `wasi` are this package's own. The rest of WASI is wasmtime's, with an empty context. None of them
raises: wasmtime-py keeps what a host function raised in a variable of its module, where another thread's call finds it.
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
    """Resolve the module's imports. Raises ModuleError where they are not those that `loadable` accepts."""
    linker = create_linker(engine, info)
    try:
        return linker.instantiate_pre(module)
    except wasmtime.WasmtimeError as error:
        told = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
        raise ModuleError(f"{info.name} cannot be linked: {told}") from None


def create_linker(engine: wasmtime.Engine, info: ModuleInfo) -> wasmtime.Linker:
    """What the module may import. `loadable` has checked that its imports are among it, with their types."""
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
    """What wasmtime calls. A bad pointer is an errno of the guest, as WASI says. Past the deadline the guest is
    interrupted at its next loop or call."""
    masks = [(1 << int(each[1:])) - 1 for each in kind.params]

    def enter(caller: Any, *values: int) -> int | None:
        state, errno = current.state, 0
        assert state is not None, "guests run inside `Store.run`"
        if not state.is_late():
            try:
                errno = function(GuestMemory(caller), state, *[value & mask for value, mask in zip(values, masks)])
            except Exception:  # noqa: BLE001  # whatever the guest passed is its own problem
                errno = FAULT
        if state.late:
            ffi.wasmtime_context_set_epoch_deadline(caller._context(), 0)
        return errno if kind.results else None

    return enter
