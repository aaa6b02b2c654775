"""Brings an instance back to exactly the state that it was made in, where a module's whole state can be reached.

A fresh instance for each batch costs 50-150 µs, most of it in cold caches. A small module that imports nothing has no
state but its memory and its mutable globals: putting those back is the same as a fresh instance, for a few µs. What
cannot be put back (a table, a dropped segment) rules a module out. A memory that has grown cannot shrink: it is
cleared, so that its size is all that a later batch can see of an earlier one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..wasm import assembler as emit
from ..wasm.binary import ModuleInfo
from ..wasm.instructions import walk
from ..wasm.leb128 import Reader, Truncated
from ..wasm.names import skip_locals

if TYPE_CHECKING:
    from ..executor.sandbox import Sandbox

MAX_BYTES = 512 << 10  # of memory outside the tensors' block: beyond, a fresh instance is as fast
MAX_CLEARED_BYTES = 4 << 20
SPARE_BYTES = 256 << 10  # that much more than the tensors need is always worth clearing
MAX_GLOBALS = 16
MAX_CODE_BYTES = 64 << 10  # reading instructions takes a second per megabyte
PREFIX = "portalis.global."
_NUMBERS = frozenset({"i32", "i64", "f32", "f64", "v128"})
_TABLE_SET = 0x26
# data.drop, table.init, elem.drop, table.copy, table.grow, table.fill
_LASTING = {_TABLE_SET, *(0xFC << 16 | n for n in (9, 12, 13, 14, 15, 17))}
_EXPORTS, _ELEMENTS, _DATA_COUNT = 7, 9, 12


def mutable_globals(info: ModuleInfo) -> tuple[str, ...] | None:
    """The names under which `expose` exports a module's mutable globals, or None where it cannot be rewound."""
    if info.imports or len(info.memories) != 1 or info.memories[0].minimum * 65536 > MAX_BYTES:
        return None
    state = [(i, g) for i, g in enumerate(info.globals) if g.mutable]
    names = tuple(f"{PREFIX}{i}" for i, _ in state)
    if len(state) > MAX_GLOBALS or any(g.valtype not in _NUMBERS for _, g in state):
        return None
    if any(info.export(name) for name in names) or info.export("memory") is None:
        return None
    return names if _leaves_tables_alone(info) else None


def _leaves_tables_alone(info: ModuleInfo) -> bool:
    """Whether no instruction changes a table or drops a segment."""
    if not (info.tables or info.has_section(_ELEMENTS) or info.has_section(_DATA_COUNT)):
        return True  # then there can be no such instruction
    if info.size > MAX_CODE_BYTES:
        return False
    try:
        return not any(i.opcode in _LASTING for body in info.bodies() for i in walk(body, skip_locals(body)))
    except (ValueError, Truncated):
        return False


def expose(wasm: bytes, info: ModuleInfo, names: tuple[str, ...]) -> bytes:
    """`wasm`, which `info` describes, with its mutable globals exported under `names` (from `mutable_globals`)."""
    if not names:
        return wasm
    section = next(s for s in info.sections if s.number == _EXPORTS)
    reader = Reader(wasm, section.start, section.end)
    count = reader.unsigned()
    added = [emit.name(name) + b"\x03" + emit.unsigned(int(name[len(PREFIX) :])) for name in names]
    payload = emit.unsigned(count + len(added)) + wasm[reader.at : section.end] + b"".join(added)
    return wasm[: section.at] + emit.section(_EXPORTS, payload) + wasm[section.end :]


class Snapshot:
    """The state of an instance that was made, and got its block for tensors, but has not been called."""

    __slots__ = ("_after", "_before", "_block", "_globals", "_grown", "_high", "_low", "_memory", "_size")

    def __init__(self, box: Sandbox, names: tuple[str, ...]) -> None:
        memory = box.view()
        self._size: int = memory.size
        block = box.block
        self._block = (block.pointer, block.pointer + block.capacity) if block is not None else (0, 0)
        self._before = memory[: self._block[0]].copy()
        behind = memory[self._block[1] :]
        self._after = behind.copy() if behind.any() else 0
        found = [box.export(name.encode()) for name in names]
        self._globals = [(extern, box.store.global_value(extern)) for extern in found if extern is not None]
        self._look(memory)

    def _look(self, memory: np.ndarray) -> None:
        self._memory = memory
        self._low = memory[: self._block[0]]
        self._high = memory[self._block[1] : self._size]
        self._grown = memory[self._size :]

    @staticmethod
    def of(box: Sandbox, names: tuple[str, ...]) -> Snapshot | None:
        """The snapshot of `box`, or None where it would be too large to be worth it."""
        inside = box.block.capacity if box.block is not None else 0
        return Snapshot(box, names) if box.memory_size() - inside <= MAX_BYTES else None

    def restore(self, box: Sandbox, habit: Habit, size: int) -> bool:
        """Put everything back but the block's bytes, which the next call of `size` bytes writes or clears. What the
        guest has grown is cleared but stays. False where that is more than a new instance would cost."""
        memory = box.latest if box.latest is not None else box.view()
        grew = memory is not self._memory
        habit.count(grew)
        if grew:
            self._look(memory)
        if self._grown.size:
            if self._grown.size > min(max(4 * size, SPARE_BYTES), MAX_CLEARED_BYTES):
                return False
            self._grown.fill(0)
        self._low[:] = self._before
        self._high[:] = self._after
        for extern, value in self._globals:
            box.store.set_global(extern, value)
        return True


class Habit:
    """Whether rewinding pays for a module: not where most calls make the memory grow anew, as some allocators do that
    take no notice of memory that is already there."""

    __slots__ = ("_grown", "_rewound", "pays")

    def __init__(self) -> None:
        self._rewound = self._grown = 0
        self.pays = True

    def count(self, grew: bool) -> None:
        """Take note of a rewind after a call in which the memory grew, or did not."""
        self._rewound += 1
        self._grown += grew
        self.pays = self._grown <= 8 or 4 * self._grown < self._rewound
