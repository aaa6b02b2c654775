"""Links a module with what the host gives to guests: WASI without files, network or environment, and AssemblyScript's
abort.

The functions of `wasi` are this package's own. The rest of WASI is wasmtime's, with an empty context.
"""

from __future__ import annotations

import wasmtime

from ..errors import ModuleError
from ..wasm.binary import ModuleInfo
from . import wasi


def link(engine: wasmtime.Engine, module: wasmtime.Module, info: ModuleInfo) -> wasmtime.InstancePre:
    """Resolve the module's imports. Raises ModuleError where they are not those that `loadable` accepts."""
    linker = provide(engine, info)
    try:
        return linker.instantiate_pre(module)
    except wasmtime.WasmtimeError as error:
        told = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
        raise ModuleError(f"{info.name} cannot be linked: {told}") from None


def provide(engine: wasmtime.Engine, info: ModuleInfo) -> wasmtime.Linker:
    """What the module may import. `loadable` has checked that its imports are among it, with their types."""
    linker = wasmtime.Linker(engine)
    linker.allow_shadowing = True
    if info.imports:
        linker.define_wasi()
        for function in wasi.FUNCTIONS:
            function.define(linker)
    return linker
