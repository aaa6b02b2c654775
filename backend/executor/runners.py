"""Chooses and prepares the runner of an entry: everything that is decided once, at load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum

import wasmtime

from ..compile.engine import engine_for, settings_of
from ..interface.interface import Convention, Interface
from ..limits import Limits
from ..plan import elementwise_loop, gufunc_loop, gufunc_plan
from ..plan.buffers import choose_allocator, own_maximum
from ..terms import Terms
from ..wasm.binary import FuncType, ModuleInfo
from ..wasm.inline import leaf_body
from . import elementwise, host, native
from .command import Command, Sandboxed
from .dlpack import Dlpack
from .elementwise import Elementwise
from .gufunc import Gufunc
from .parallel import Workers
from .sandbox import OnOutput, Parts, Recipe, SandboxFactory, Stats

Runner = Elementwise | Gufunc | Dlpack | Command


class Isolation(str, Enum):
    """How long an instance lives: one request, one guest call (a coalesced batch), or until it fails."""

    REQUEST = "request"
    BATCH = "batch"
    INSTANCE = "instance"


def prepare(
    engine: wasmtime.Engine,
    module: wasmtime.Module,
    info: ModuleInfo,
    interface: Interface,
    limits: Limits,
    isolation: Isolation,
    workers: Workers,
    stats: Stats,
    on_output: OnOutput | None,
    globals_exposed: tuple[str, ...] | None,
    terms: Terms,
) -> tuple[Runner, SandboxFactory]:
    """The runner for `interface` and the factory of its sandboxes; errors name limits as `terms` do."""
    convention = interface.convention
    allocator = choose_allocator(info) if convention in (Convention.GUFUNC, Convention.DLPACK) else None
    function = _function(info, interface)
    loop_wasm: bytes | None = None
    loop_imports: tuple[bytes, ...] = ()
    if convention is Convention.ELEMENTWISE:
        entry = info.export(interface.entry)
        leaf = leaf_body(info, entry.index) if entry is not None else None
        loop = elementwise_loop.build(function, leaf, interface.entry, elementwise.CHUNK_BYTES)
        loop_wasm, loop_imports = loop.wasm, (interface.entry.encode(),) if loop.imports_function else ()
    elif convention is Convention.GUFUNC:
        plan = gufunc_plan.plan(interface, function)
        if not plan.loops_itself:
            loop_wasm, loop_imports = gufunc_loop.build(plan.kernel), (interface.entry.encode(), b"memory")
    recipe = Recipe(
        parts=_parts(engine, module, info, loop_wasm),
        on_demand=_on_demand(engine, module, info, loop_wasm),
        limits=limits,
        host_needed=bool(info.imports) or convention is Convention.COMMAND,
        initializer=_initializer(info, interface),
        allocator=allocator,
        own_maximum=own_maximum(info),
        loop_imports=loop_imports,
        has_memory=bool(info.memories),
        globals_exposed=globals_exposed,
        keep=info.is_stateless() or isolation is Isolation.INSTANCE,
        stateful=not info.is_stateless() and isolation is Isolation.INSTANCE,
        on_output=on_output,
        name_of=info.function_name,
        terms=terms,
    )
    sandboxes = SandboxFactory(recipe, stats)
    joins = interface.max_batch_size > 0 and isolation is not Isolation.REQUEST
    if convention is Convention.ELEMENTWISE:
        return Elementwise(interface, function, loop, sandboxes, workers), sandboxes
    if convention is Convention.GUFUNC:
        return Gufunc(interface, plan, sandboxes, workers, joins=joins), sandboxes
    if convention is Convention.DLPACK:
        resets, explains = (info.export(n) is not None for n in ("portalis_reset", "portalis_error"))
        return Dlpack(interface, sandboxes, workers, resets=resets, explains=explains, joins=joins), sandboxes
    return Command(interface, Sandboxed(interface, sandboxes), workers, limits.max_tensor_bytes, terms), sandboxes


def _parts(engine: wasmtime.Engine, module: wasmtime.Module, info: ModuleInfo, loop_wasm: bytes | None) -> Parts:
    loop_module = wasmtime.Module(engine, loop_wasm) if loop_wasm is not None else None
    return Parts(engine, host.link(engine, module, info), loop_module)


def _on_demand(
    engine: wasmtime.Engine, module: wasmtime.Module, info: ModuleInfo, loop_wasm: bytes | None
) -> Callable[[], Parts] | None:
    """What makes the parts for memories without a pool; the machine code is the same. None where `engine` has none."""
    settings = settings_of(engine)
    if not settings.pooling:
        return None

    def make() -> Parts:
        on_demand = engine_for(replace(settings, pooling=False))
        return _parts(on_demand, native.deserialize(on_demand, module.serialize()), info, loop_wasm)

    return make


def _initializer(info: ModuleInfo, interface: Interface) -> bytes | None:
    """What a new instance is initialised by: `_initialize` of a reactor, else the `_start` of a program of which a
    function beside it is called."""
    if interface.convention is Convention.COMMAND or interface.entry == "_start":
        return None
    return next((name.encode() for name in ("_initialize", "_start") if info.export(name) is not None), None)


def _function(info: ModuleInfo, interface: Interface) -> FuncType:
    export = info.export(interface.entry)
    assert export is not None, "discovery has checked the entry"
    assert isinstance(export.type, FuncType), "and its type"
    return export.type
