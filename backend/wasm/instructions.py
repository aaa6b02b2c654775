"""Walks over WebAssembly instructions by the shape of their immediates. Core specification, section 5.4."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .leb128 import Reader

MEMORY_GROW = 0x40
END = 0x0B

# What follows an opcode: n integer, b block type, m memory argument, t br_table, v select types, 4/8 constant bytes,
# z one byte, s/x prefixed opcodes.
_SHAPES: dict[int, str] = {
    **dict.fromkeys((0x00, 0x01, 0x05, 0x0B, 0x0F, 0x1A, 0x1B, 0xD1), ""),
    **dict.fromkeys((0x02, 0x03, 0x04), "b"),
    **dict.fromkeys((0x0C, 0x0D, 0x10, 0x12, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x41, 0x42, 0xD0, 0xD2), "n"),
    **dict.fromkeys((0x11, 0x13), "nn"),
    0x0E: "t",
    0x1C: "v",
    **dict.fromkeys(range(0x28, 0x3F), "m"),
    **dict.fromkeys((0x3F, 0x40), "n"),
    0x43: "4",
    0x44: "8",
    **dict.fromkeys(range(0x45, 0xC5), ""),
    0xFC: "x",
    0xFD: "s",
}
_MISC = {
    **dict.fromkeys(range(8), ""),
    8: "nn",
    9: "n",
    10: "nn",
    11: "n",
    12: "nn",
    13: "n",
    14: "nn",
    15: "n",
    16: "n",
    17: "n",
}


@dataclass(frozen=True)
class Instruction:
    """One instruction: its opcode (prefixed ones as ``prefix << 16 | number``) and the bytes it takes."""

    opcode: int
    start: int
    end: int
    immediate: int = 0


def _simd_shape(number: int) -> str:
    if number <= 11 or number in (92, 93):
        return "m"
    if number in (12, 13):
        return "16"
    if 21 <= number <= 34:
        return "z"
    if 84 <= number <= 91:
        return "mz"
    if number <= 275:
        return ""
    raise ValueError(f"SIMD instruction {number} is unknown")


def walk(body: bytes, start: int) -> Iterator[Instruction]:
    """The instructions from offset `start` to the end of `body`. Raises ValueError at one that is unknown, Truncated
    where the bytes end early."""
    reader = Reader(body, start, len(body))
    while reader.at < reader.end:
        yield _next(reader)


def _next(reader: Reader) -> Instruction:
    at, opcode = reader.at, reader.byte()
    shape = _SHAPES.get(opcode)
    if shape is None:
        raise ValueError(f"instruction {opcode:#x} at {at:#x} is unknown")
    if shape in ("x", "s"):
        number = reader.unsigned()
        if shape == "x" and number not in _MISC:
            raise ValueError(f"instruction {opcode:#x} {number} at {at:#x} is unknown")
        shape = _MISC[number] if shape == "x" else _simd_shape(number)
        opcode = opcode << 16 | number
    immediate = _skip(reader, shape)
    return Instruction(opcode, at, reader.at, immediate)


def _skip(reader: Reader, shape: str) -> int:
    first = reader.data[reader.at] if shape and reader.at < reader.end else 0
    if shape in ("4", "8", "16"):
        reader.take(int(shape))
    elif shape == "t":
        for _ in range(reader.unsigned() + 1):
            reader.unsigned()
    elif shape == "v":
        for _ in range(reader.unsigned()):
            reader.byte()
    elif shape.startswith("m"):
        if reader.unsigned() & 0x40:
            reader.unsigned()  # which memory
        reader.unsigned(64)
        if shape == "mz":
            reader.byte()
    elif shape == "z":
        reader.byte()
    else:
        for _ in shape:  # integers and block types
            reader.skip_integer()
    return first


def skip_constant_expression(reader: Reader) -> None:
    """Move `reader` behind the ``end`` of a constant expression."""
    from .leb128 import Truncated

    try:
        while _next(reader).opcode != END:
            pass
    except ValueError as error:
        raise Truncated(reader.at, f"a constant expression cannot be read ({error})") from None
