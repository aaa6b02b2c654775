"""Links a module with what the host gives to guests: WASI without files, network or environment, and AssemblyScript's
abort.

The functions of `wasi` are this package's own. The rest of WASI is wasmtime's, with an empty context.
"""

from __future__ import annotations

from typing import Any

import wasmtime

from . import wasi
from .binary import ModuleInfo
from .errors import ModuleError


def link(engine: wasmtime.Engine, module: wasmtime.Module, info: ModuleInfo) -> wasmtime.InstancePre:
    """Resolve the module's imports. Raises ModuleError listing every import that nobody provides."""
    linker = provide(engine, info)
    try:
        return linker.instantiate_pre(module)
    except wasmtime.WasmtimeError as error:
        told = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
        raise ModuleError(f"{info.name} cannot be linked: {told}") from None


def provide(engine: wasmtime.Engine, info: ModuleInfo) -> wasmtime.Linker:
    """What the module may import. Raises ModuleError listing what is not among it."""
    linker = wasmtime.Linker(engine)
    linker.allow_shadowing = True
    if info.imports:
        linker.define_wasi()
        for function in wasi.FUNCTIONS:
            function.define(linker)
        store = wasmtime.Store(engine)
        missing = [f"{i.module}.{i.name} ({i.kind})" for i in info.imports if not _provided(linker, store, i)]
        if missing:
            raise ModuleError(
                f"{info.name} imports what this host does not provide: {', '.join(missing)}. Provided are the functions"
                f" of {wasi.WASI} and env.abort; build the module without the others"
            )
    return linker


def _provided(linker: wasmtime.Linker, store: wasmtime.Store, wanted: Any) -> bool:
    try:
        linker.get(store, wanted.module, wanted.name)
    except (KeyError, wasmtime.WasmtimeError):
        return False
    return True
