"""Decides whether a guest function is a *leaf expression*, whose code can be copied into a generated loop.

Such code accesses only its own locals and runs for a bounded time. It is copied unchanged: the loop declares the
guest's parameters and locals first, so local indices stay valid. The code is placed in a block, so that branches to the
function's outermost label still leave the expression.
"""

from __future__ import annotations

from dataclasses import dataclass

from .binary import ModuleInfo
from .instructions import declared_locals, walk
from .leb128 import Reader, Truncated
from .sections import NUMBERS, VALTYPES

MAX_CODE_BYTES = 512
MAX_LOCALS = 32
_CARRIED = NUMBERS | {"v128"}
_BLOCKS = (0x02, 0x04)
_BLOCK_TYPES = frozenset({0x40, 0x7F, 0x7E, 0x7D, 0x7C, 0x7B})
_ALLOWED = frozenset(
    {0x01, *_BLOCKS, 0x05, 0x0B, 0x0C, 0x0D, 0x0E, 0x1A, 0x1B, 0x1C, 0x20, 0x21, 0x22}
    | set(range(0x41, 0xC5))
    | {0xFC << 16 | n for n in range(8)}
    | {0xFD << 16 | n for n in range(12, 276) if not (84 <= n <= 93)}
)


@dataclass(frozen=True)
class LeafBody:
    """A function that can be copied: its declared locals, and its instructions with the final ``end``."""

    locals: tuple[str, ...]
    code: bytes


def leaf_body(info: ModuleInfo, index: int) -> LeafBody | None:
    """The function as a leaf expression; None if it must be called."""
    body, kind = info.body(index), info.functions[index]
    if body is None or not set(kind.params) | set(kind.results) <= NUMBERS:
        return None
    reader = Reader(body)
    locals_: tuple[str, ...] = ()
    try:
        for count, byte in declared_locals(reader):
            valtype = VALTYPES.get(byte, "")
            if valtype not in _CARRIED or count > MAX_LOCALS - len(locals_):
                return None
            locals_ += (valtype,) * count
        start = reader.at
        if reader.end - start > MAX_CODE_BYTES:
            return None
        for instruction in walk(reader):
            if instruction.opcode not in _ALLOWED:
                return None
            if instruction.opcode in _BLOCKS and instruction.immediate not in _BLOCK_TYPES:
                return None
    except (ValueError, Truncated):
        return None
    return LeafBody(locals_, body[start:])
