"""Decides once, at load, how the entry of a module is called: the plan, which every executor runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path

from ..interface import gufunc
from ..interface.interface import Convention, Interface
from ..limits import Limits
from ..terms import Terms
from ..wasm import assembler
from ..wasm.binary import FuncType, ModuleInfo, read_module
from ..wasm.inline import leaf_body
from . import control, elementwise_loop, gufunc_loop, rewind
from .bridge import Bridge, Link
from .buffers import Allocator, choose_allocator, own_maximum
from .control import Fixed

ADAPTER = Path(__file__).parent.parent / "adapter" / "adapter.wasm"


class Isolation(str, Enum):
    """How long an instance lives: one request, one guest call (a coalesced batch), or until it fails."""

    REQUEST = "request"
    BATCH = "batch"
    INSTANCE = "instance"


@dataclass(frozen=True)
class Part:
    """A module of a plan, and where its imports come from (none: from the host). `own`: generated here, or our own."""

    wasm: bytes
    links: tuple[Link, ...]
    own: bool


@dataclass(frozen=True)
class Plan:
    """How an entry is run.

    `parts` are instantiated in their order, in one store: the guest, its loop if it has one, the bridge, the adapter.
    `keep` has an instance serve again as it is, `stateful` says that its guest may count on that; with `rewinds` it
    serves again once the adapter has put it back to its first state.
    """

    interface: Interface
    limits: Limits
    terms: Terms
    parts: tuple[Part, ...]
    keep: bool
    stateful: bool
    rewinds: bool
    joins: bool
    needs_host: bool
    has_memory: bool
    initializer: str | None

    @property
    def bridge(self) -> int:
        """The number of the bridge among the parts, which has the memories."""
        return len(self.parts) - 2


@lru_cache(maxsize=1)
def adapter() -> tuple[bytes, tuple[str, ...]]:
    """The adapter's bytes, and the names of its imports."""
    wasm = ADAPTER.read_bytes() + assembler.name_section("adapter", {})  # for backtraces
    return wasm, tuple(item.name for item in read_module(wasm, "the adapter").imports)


def plan(
    wasm: bytes, info: ModuleInfo, interface: Interface, isolation: Isolation, limits: Limits, terms: Terms
) -> Plan:
    """The plan for a module that `interface` fits; errors of its guest name limits as `terms` do."""
    kept = info.is_stateless() or isolation is Isolation.INSTANCE
    exposed = None if kept else rewind.mutable_globals(info)
    guest = Part(rewind.expose(wasm, info, exposed) if exposed else wasm, (), own=False)
    function = entry_type(info, interface)
    lowered = _LOWER[interface.convention](info, interface, function)
    bridge = Bridge(
        guest=info,
        entry=interface.entry,
        fixed=_fixed(info, interface, limits, terms, lowered, rewinds=exposed is not None),
        allocator=lowered.allocator,
        loop=lowered.loop_type,
        kernel=lowered.kernel,
        tensors_in=1 if interface.convention is Convention.ELEMENTWISE else 0,
        has_state=exposed is not None,
        globals=exposed or (),
    )
    made = bridge.build()
    loop = () if lowered.loop is None else (Part(lowered.loop, lowered.links, own=True),)
    last = 1 + len(loop)
    code, imports = adapter()
    parts = (
        guest,
        *loop,
        Part(made, tuple(bridge.links), own=True),
        Part(code, tuple(Link(last, name) for name in imports), own=True),
    )
    return Plan(
        interface,
        limits,
        terms,
        parts,
        keep=kept,
        stateful=not info.is_stateless() and isolation is Isolation.INSTANCE,
        rewinds=exposed is not None,
        joins=interface.max_batch_size > 0 and isolation is not Isolation.REQUEST,
        needs_host=bool(info.imports),
        has_memory=bool(info.memories),
        initializer=initializer(info, interface),
    )


def entry_type(info: ModuleInfo, interface: Interface) -> FuncType:
    """The type of the entry, which discovery has checked."""
    export = info.export(interface.entry)
    assert export is not None, "discovery has checked the entry"
    assert isinstance(export.type, FuncType), "and its type"
    return export.type


def initializer(info: ModuleInfo, interface: Interface) -> str | None:
    """What a new instance is initialised by: `_initialize` of a reactor, else the `_start` of a program of which a
    function beside it is called. It is called without arguments: the entry is none, whatever its name."""
    exported = (info.export(name) for name in ("_initialize", "_start") if name != interface.entry)
    return next((export.name for export in exported if export is not None and export.type == FuncType((), ())), None)


@dataclass(frozen=True)
class _Lowered:
    """What is particular to a convention."""

    convention: int
    allocator: Allocator | None = None
    loop: bytes | None = None
    loop_type: FuncType | None = None
    links: tuple[Link, ...] = ()
    kernel: gufunc.Kernel | None = None
    symbols: Sequence[str] = ()
    positions: Sequence[int] = ()
    cores: Sequence[Sequence[int]] = ()
    capacity: int = 0
    end: int = 0


def _elementwise(info: ModuleInfo, interface: Interface, function: FuncType) -> _Lowered:
    entry = info.export(interface.entry)
    leaf = leaf_body(info, entry.index) if entry is not None else None
    dtypes = [spec.dtype for spec in (*interface.inputs, *interface.outputs)]
    loop = elementwise_loop.build(function, dtypes, leaf, interface.entry)
    return _Lowered(
        control.ELEMENTWISE,
        loop=loop.wasm,
        loop_type=FuncType((), ()),
        links=(Link(0, interface.entry),) if loop.imports_function else (),
        positions=loop.places,
        capacity=loop.capacity,
        end=loop.end,
    )


def _gufunc(info: ModuleInfo, interface: Interface, function: FuncType) -> _Lowered:
    decided = gufunc.plan(interface, function)
    kernel, signature = decided.kernel, interface.signature
    assert signature is not None, "the plan has seen it"
    outputs = interface.outputs
    in_order = [*decided.names, *(outputs[i].name for i in decided.returned)]
    symbols = signature.names
    common = {
        "allocator": choose_allocator(info),
        "symbols": symbols,
        "positions": [in_order.index(spec.name) for spec in (*interface.inputs, *outputs)],
        "cores": [
            [-1 - symbols.index(dim) if isinstance(dim, str) else dim for dim in dims]
            for dims in (*signature.inputs, *signature.outputs)
        ],
    }
    if decided.loops_itself:
        return _Lowered(control.GUFUNC, kernel=kernel, **common)  # type: ignore[arg-type]
    loop = gufunc_loop.build(kernel, [outputs[i].dtype for i in decided.returned])
    return _Lowered(
        control.GUFUNC,
        loop=loop,
        loop_type=FuncType(("i32",) * kernel.parameters, ("i32",)),
        links=(Link(0, interface.entry), Link(0, "memory")),
        **common,  # type: ignore[arg-type]
    )


def _dlpack(info: ModuleInfo, interface: Interface, function: FuncType) -> _Lowered:
    return _Lowered(control.DLPACK, allocator=choose_allocator(info))


_LOWER = {Convention.ELEMENTWISE: _elementwise, Convention.GUFUNC: _gufunc, Convention.DLPACK: _dlpack}


def _fixed(
    info: ModuleInfo, interface: Interface, limits: Limits, terms: Terms, lowered: _Lowered, *, rewinds: bool
) -> Fixed:
    flags = control.REWINDS if rewinds else 0
    if interface.convention is Convention.DLPACK:
        flags |= control.RESETS if info.export("portalis_reset") is not None else 0
        flags |= control.EXPLAINS if info.export("portalis_error") is not None else 0
    flags |= control.FORGETS if lowered.allocator is Allocator.PORTALIS else 0
    flags |= control.LOOPS if lowered.kernel is not None else 0
    allocator = lowered.allocator
    return Fixed(
        convention=lowered.convention,
        flags=flags,
        inputs=interface.inputs,
        outputs=interface.outputs,
        max_batch=interface.max_batch_size,
        max_tensor_bytes=limits.max_tensor_bytes,
        max_bytes_elements=limits.max_bytes_elements,
        max_memory_bytes=limits.max_memory_bytes,
        own_maximum=own_maximum(info),
        signature=str(interface.signature or ""),
        allocator="" if allocator in (None, Allocator.PAGES) else allocator.value,
        raise_tensor_bytes=terms.raising("max_tensor_bytes"),
        raise_bytes_elements=terms.raising("max_bytes_elements"),
        raise_memory_bytes=terms.raising("max_memory_bytes"),
        symbols=lowered.symbols,
        positions=lowered.positions,
        cores=lowered.cores,
        capacity=lowered.capacity,
        free_at=lowered.end,
    )
