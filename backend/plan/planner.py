"""Creates the plan of an entry at load: everything that executors need to call it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from pathlib import Path

from ..interface.gufunc import plan_kernel
from ..interface.interface import Convention, Interface
from ..limits import Limits
from ..setting_names import SettingNames
from ..wasm.assembler import name_section
from ..wasm.binary import FuncType, ModuleInfo, read_module
from ..wasm.inline import leaf_body
from .bridge import Bridge
from .buffers import choose_allocator, i32_function
from .control import pack_fixed
from .elementwise_loop import build_elementwise_loop
from .gufunc_loop import build_gufunc_loop
from .plan_modules import Link, LoweredEntry, PlanModule
from .rewind import expose_globals, exposed_global_names

ADAPTER = Path(__file__).parent.parent / "adapter" / "adapter.wasm"


class Isolation(str, Enum):
    """The lifetime of an instance: one request, one guest call (a coalesced batch), or until it fails."""

    REQUEST = "request"
    BATCH = "batch"
    INSTANCE = "instance"


@dataclass(frozen=True)
class Plan:
    """Everything that executors need to call an entry.

    `modules` are instantiated in order, in one store: the guest, its loop if any, the bridge, the adapter. With `keep`
    an instance is reused without a rewind; `stateful` means that the guest relies on that. With `rewinds` it is reused
    after the adapter has reset it to its initial state. With `joins` requests can share a guest call.
    """

    interface: Interface
    limits: Limits
    setting_names: SettingNames
    modules: tuple[PlanModule, ...]
    keep: bool
    stateful: bool
    rewinds: bool
    joins: bool
    needs_host: bool
    has_memory: bool
    initializer: str | None

    @property
    def bridge(self) -> int:
        """The index of the bridge among the modules."""
        return len(self.modules) - 2


@lru_cache(maxsize=1)
def adapter() -> tuple[bytes, tuple[str, ...]]:
    """The adapter's bytes, and the names of its imports."""
    wasm = ADAPTER.read_bytes() + name_section("adapter", {})  # for backtraces
    return wasm, tuple(item.name for item in read_module(wasm, "the adapter").imports)


def plan_entry(
    wasm: bytes,
    info: ModuleInfo,
    interface: Interface,
    isolation: Isolation,
    limits: Limits,
    setting_names: SettingNames,
) -> Plan:
    """The plan for the entry of a module that satisfies `interface`. Errors name settings as in `setting_names`."""
    kept = info.is_stateless() or isolation is Isolation.INSTANCE
    exposed = None if kept else exposed_global_names(info)
    guest = PlanModule(wasm if exposed is None else expose_globals(wasm, info, exposed), builtin=False)
    entry = info.export(interface.entry)
    assert entry is not None, "checked by discovery"
    assert isinstance(entry.type, FuncType), "checked by discovery"
    lowered = _LOWER[interface.convention](info, interface, entry.type)
    fixed = pack_fixed(info, interface, limits, setting_names, lowered, rewinds=exposed is not None)
    bridge = Bridge(info, interface.entry, entry.type, lowered, exposed).build(fixed)
    modules = (guest, lowered.loop, bridge) if lowered.loop else (guest, bridge)
    code, imports = adapter()
    return Plan(
        interface,
        limits,
        setting_names,
        (*modules, PlanModule(code, tuple(Link(len(modules) - 1, name) for name in imports))),
        keep=kept,
        stateful=not info.is_stateless() and isolation is Isolation.INSTANCE,
        rewinds=exposed is not None,
        joins=interface.max_batch_size > 0 and isolation is not Isolation.REQUEST,
        needs_host=bool(info.imports),
        has_memory=bool(info.memories),
        initializer=initializer_name(info, interface),
    )


def initializer_name(info: ModuleInfo, interface: Interface) -> str | None:
    """The export that initializes a new instance: `_initialize` of a reactor, else `_start` of a command that has
    another entry. It takes no arguments. The entry itself is never an initializer."""
    exported = (info.export(name) for name in ("_initialize", "_start") if name != interface.entry)
    return next((export.name for export in exported if export is not None and export.type == FuncType((), ())), None)


def _elementwise(info: ModuleInfo, interface: Interface, function: FuncType) -> LoweredEntry:
    entry = info.export(interface.entry)
    leaf = leaf_body(info, entry.index) if entry is not None else None
    dtypes = [spec.dtype for spec in (*interface.inputs, *interface.outputs)]
    return build_elementwise_loop(function, dtypes, leaf, interface.entry)


def _gufunc(info: ModuleInfo, interface: Interface, function: FuncType) -> LoweredEntry:
    (kernel, pointers), signature = plan_kernel(interface, function), interface.signature
    assert signature is not None, "checked by `plan_kernel`"
    returned, symbols = [spec for spec in interface.outputs if spec.name not in pointers], signature.names
    in_order = [*pointers, *(spec.name for spec in returned)]
    lowered = LoweredEntry(
        allocator=choose_allocator(info),
        symbols=symbols,
        positions=[in_order.index(spec.name) for spec in (*interface.inputs, *interface.outputs)],
        cores=[
            [-1 - symbols.index(dim) if isinstance(dim, str) else dim for dim in dims]
            for dims in (*signature.inputs, *signature.outputs)
        ],
    )
    if kernel.loops_itself:
        return replace(lowered, kernel=kernel)
    loop = build_gufunc_loop(kernel, [spec.dtype for spec in returned], interface.entry)
    return replace(lowered, loop=loop, loop_type=i32_function(kernel.parameters, 1))


def _dlpack(info: ModuleInfo, interface: Interface, function: FuncType) -> LoweredEntry:
    return LoweredEntry(allocator=choose_allocator(info))


_LOWER = {Convention.ELEMENTWISE: _elementwise, Convention.GUFUNC: _gufunc, Convention.DLPACK: _dlpack}
