"""Packs a plan into one block of bytes for the native executor, with the layout of ``native/plan.h``."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..constants import MAX_RANK
from ..interface.interface import Convention, Interface, core_ranks
from ..messages import bounded_name
from .planner import Plan

VERSION = 2
KEEPS, STATEFUL, REWINDS, JOINS, HAS_HOST, HAS_MEMORY, EXACT, SIGNALS = (1 << n for n in range(8))
MAX_NAMES_BYTES = 256 << 10
"""Maximum size of the function names for backtraces; further functions are shown by index."""
HEADER = struct.Struct("<8s4I6Iq3QQ14I4I")
_MODULE, _LINK, _TENSOR, _NAME = (struct.Struct(f) for f in ("<IIII", "<III", f"<IIIIiIII{MAX_RANK}q", "<III"))


class _Block:
    """A growing block in which every item begins at a multiple of 8."""

    def __init__(self) -> None:
        self.data = bytearray(HEADER.size + -HEADER.size % 8)

    def put(self, content: Any) -> tuple[int, int]:
        """Append `content`; returns its offset and size."""
        at = len(self.data)
        self.data += content
        size = len(self.data) - at
        self.data += bytes(-len(self.data) % 8)
        return at, size

    def text(self, text: str) -> tuple[int, int]:
        """Append `text` with a terminating NUL; returns its offset, and its size without the NUL."""
        at, size = self.put(text.encode("utf-8", "surrogatepass") + b"\0")
        return at, size - 1


def pack_plan(
    plan: Plan,
    code: Sequence[Any],
    *,
    names: Iterable[tuple[int, str]],
    signals: bool,
    struct_sizes: int,
    configuration: str = "",
) -> bytearray:
    """`plan` as one block, with the machine `code` of its modules.

    `names` are the functions for backtraces, `signals` says whether the engine uses signal handlers, `struct_sizes` are
    those of `core_library`, and `configuration` is the completed model configuration for Triton.
    """
    block, limits, interface = _Block(), plan.limits, plan.interface
    texts = _texts(block, plan, configuration)
    links = [_LINK.pack(link.module, *block.text(link.name)) for module in plan.modules for link in module.links]
    tensors = _tensors(block, interface)
    named = [_NAME.pack(index, *block.text(name)) for index, name in backtrace_names(names)]
    links_at, tensors_at, names_at = (block.put(b"".join(rows))[0] for rows in (links, tensors, named))
    modules_at, _ = block.put(bytes(_MODULE.size * len(plan.modules)))
    kept = len(block.data)
    for i, (module, machine_code) in enumerate(zip(plan.modules, code)):  # last: executors keep the bytes before it
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
        struct_sizes,
        *texts,
        modules_at,
        links_at,
        tensors_at,
        names_at,
    )
    return block.data


def _texts(block: _Block, plan: Plan, configuration: str) -> list[int]:
    """Append the strings of the header; returns the offset and size of each, in the header's order."""
    timeout_s, setting_names = plan.limits.timeout_s, plan.setting_names
    texts = (
        bounded_name(plan.interface.entry),
        plan.initializer or "",
        configuration,
        setting_names.more_time_advice(timeout_s, timeout_s),
        setting_names.more_time_advice(0.0, timeout_s),
        setting_names.raise_advice("max_memory_bytes"),
        setting_names.limit_name("max_output_bytes"),
    )
    return [number for text in texts for number in block.text(text)]


def _tensors(block: _Block, interface: Interface) -> list[bytes]:
    """Append the names of all tensors; returns their rows, inputs first."""
    specs = (*interface.inputs, *interface.outputs)
    return [
        _TENSOR.pack(
            *block.text(spec.name),
            spec.dtype.number,
            spec.dtype.itemsize,
            len(spec.dims),
            spec.optional,
            core_rank,
            0,
            *spec.dims,
            *[0] * (MAX_RANK - len(spec.dims)),
        )
        for spec, core_rank in zip(specs, (*core_ranks(interface), *[0] * len(interface.outputs)))
    ]


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
    """Function names as shown in backtraces, up to MAX_NAMES_BYTES."""
    remaining = MAX_NAMES_BYTES
    for index, name in names:
        text = bounded_name(name)
        remaining -= len(text) + _NAME.size
        if remaining < 0:
            return
        yield index, text
