"""Decides whether an instance can be rewound, reset exactly to its initial state, and exports the globals for it.

A new instance for each batch takes 50-150 µs, mostly because of cold caches. The state of a small module without
imports is its memory and its mutable globals: resetting them is equivalent to a new instance, and takes a few µs. A
module cannot be rewound if it changes state that cannot be reset (a table, a dropped segment). A memory that has grown
cannot shrink: it is cleared, so that its size is all that a later batch can observe of an earlier one.
"""

from __future__ import annotations

from ..constants import PAGE
from ..wasm import assembler as emit
from ..wasm.binary import ModuleInfo
from ..wasm.instructions import has_instruction
from ..wasm.leb128 import Reader

REWIND_MAX_BYTES = 512 << 10
"""Maximum size of the memory outside the tensor block. For a larger one a new instance is as fast."""
MAX_GLOBALS = 16
MAX_CODE_BYTES = 64 << 10
"""Maximum size of a module whose instructions are read, which takes a second per megabyte."""
PREFIX = "portalis.global."
_NUMBERS = frozenset({"i32", "i64", "f32", "f64", "v128"})
_TABLE_SET = 0x26
# data.drop, table.init, elem.drop, table.copy, table.grow, table.fill
_LASTING = {_TABLE_SET, *(0xFC << 16 | n for n in (9, 12, 13, 14, 15, 17))}
_EXPORTS, _ELEMENTS, _DATA_COUNT = 7, 9, 12


def exposed_global_names(info: ModuleInfo) -> tuple[str, ...] | None:
    """The names for exporting a module's mutable globals with `expose_globals`; None if it cannot be rewound."""
    if info.imports or len(info.memories) != 1 or info.memories[0].minimum * PAGE > REWIND_MAX_BYTES:
        return None
    state = [(i, g) for i, g in enumerate(info.globals) if g.mutable]
    names = tuple(f"{PREFIX}{i}" for i, _ in state)
    if len(state) > MAX_GLOBALS or any(g.valtype not in _NUMBERS for _, g in state):
        return None
    if any(info.export(name) for name in names) or info.export("memory") is None:
        return None
    return names if _leaves_tables_alone(info) else None


def _leaves_tables_alone(info: ModuleInfo) -> bool:
    """Whether no instruction modifies a table or drops a segment."""
    if not (info.tables or info.section(_ELEMENTS) or info.section(_DATA_COUNT)):
        return True  # without them no such instruction is valid
    return info.size <= MAX_CODE_BYTES and not has_instruction(info.bodies(), _LASTING)


def expose_globals(wasm: bytes, info: ModuleInfo, names: tuple[str, ...]) -> bytes:
    """`wasm` with its mutable globals exported under `names` (from `exposed_global_names`); `info` is its metadata."""
    if not names:
        return wasm
    section = info.section(_EXPORTS)
    assert section is not None, "a memory is exported"
    reader = Reader(wasm, section.start, section.end)
    count = reader.unsigned()
    added = [emit.name(name) + b"\x03" + emit.unsigned(int(name[len(PREFIX) :])) for name in names]
    payload = emit.unsigned(count + len(added)) + wasm[reader.at : section.end] + b"".join(added)
    return wasm[: section.at] + emit.section(_EXPORTS, payload) + wasm[section.end :]
