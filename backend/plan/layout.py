"""The plan as one block of bytes, which the native executor reads: the layout of ``native/plan.h``."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..constants import MAX_RANK
from ..interface.interface import Convention, core_ranks
from ..messages import bounded_name
from .planner import Plan

VERSION = 2
KEEPS, STATEFUL, REWINDS, JOINS, HAS_HOST, HAS_MEMORY, EXACT, SIGNALS = (1 << n for n in range(8))
MAX_NAMES_BYTES = 256 << 10  # of functions, for backtraces: more are numbers
HEADER = struct.Struct("<8s4I6Iq3QQ14I4I")
_MODULE, _LINK, _TENSOR, _NAME = (struct.Struct(f) for f in ("<IIII", "<III", f"<IIIIiIII{MAX_RANK}q", "<III"))


class _Block:
    """A block that grows; everything in it begins at a multiple of 8."""

    def __init__(self) -> None:
        self.data = bytearray(HEADER.size + -HEADER.size % 8)

    def put(self, content: Any) -> tuple[int, int]:
        """Where `content` lies now, and its size."""
        at = len(self.data)
        self.data += content
        size = len(self.data) - at
        self.data += bytes(-len(self.data) % 8)
        return at, size

    def text(self, text: str) -> tuple[int, int]:
        """As `put`, with a NUL behind it."""
        at, size = self.put(text.encode("utf-8", "surrogatepass") + b"\0")
        return at, size - 1


def pack_plan(
    plan: Plan,
    code: Sequence[Any],
    *,
    names: Iterable[tuple[int, str]],
    signals: bool,
    layouts: int,
    configuration: str = "",
) -> bytearray:
    """`plan` with the machine `code` of its parts, for an engine with or without `signals`; `layouts` are the sizes of
    wasmtime's structs."""
    block, limits, interface = _Block(), plan.limits, plan.interface
    specs = (*interface.inputs, *interface.outputs)
    texts = [
        block.text(text)
        for text in (
            bounded_name(interface.entry),
            plan.initializer or "",
            configuration,
            plan.setting_names.more_time_advice(limits.timeout_s, limits.timeout_s),
            plan.setting_names.more_time_advice(0.0, limits.timeout_s),
            plan.setting_names.raise_advice("max_memory_bytes"),
            plan.setting_names.limit_name("max_output_bytes"),
        )
    ]
    links = [_LINK.pack(link.module, *block.text(link.name)) for module in plan.modules for link in module.links]
    tensors = [
        _TENSOR.pack(
            *block.text(spec.name),
            spec.dtype.number,
            spec.dtype.itemsize,
            len(spec.dims),
            spec.optional,
            core,
            0,
            *spec.dims,
            *[0] * (MAX_RANK - len(spec.dims)),
        )
        for spec, core in zip(specs, (*core_ranks(interface), *[0] * len(interface.outputs)))
    ]
    named = [_NAME.pack(index, *block.text(name)) for index, name in backtrace_names(names)]
    links_at, tensors_at, names_at = (block.put(b"".join(rows))[0] for rows in (links, tensors, named))
    modules_at, _ = block.put(bytes(_MODULE.size * len(plan.modules)))
    kept = len(block.data)
    for i, (module, machine_code) in enumerate(zip(plan.modules, code)):  # last: an executor keeps what lies before
        _MODULE.pack_into(block.data, modules_at + _MODULE.size * i, *block.put(machine_code), len(module.links), 0)
    HEADER.pack_into(
        block.data,
        0,
        b"PORTPLAN",
        VERSION,
        len(block.data),
        _flags(plan) | (SIGNALS if signals else 0),
        limits.max_stack_bytes,
        len(plan.modules),
        len(links),
        len(interface.inputs),
        len(interface.outputs),
        len(named),
        kept,
        interface.max_batch_size,
        int(limits.timeout_s * 1e9),
        limits.max_memory_bytes,
        limits.max_output_bytes,
        layouts,
        *(number for text in texts for number in text),
        modules_at,
        links_at,
        tensors_at,
        names_at,
    )
    return block.data


def _flags(plan: Plan) -> int:
    bits = {
        KEEPS: plan.keep,
        STATEFUL: plan.stateful,
        REWINDS: plan.rewinds,
        JOINS: plan.joins,
        HAS_HOST: plan.needs_host,
        HAS_MEMORY: plan.has_memory,
        EXACT: plan.interface.convention is Convention.DLPACK,
    }
    return sum(bit for bit, is_set in bits.items() if is_set)


def backtrace_names(names: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """The names as backtraces show them, as many as there is room for."""
    room = MAX_NAMES_BYTES
    for index, name in names:
        text = bounded_name(name)
        room -= len(text) + _NAME.size
        if room < 0:
            return
        yield index, text
