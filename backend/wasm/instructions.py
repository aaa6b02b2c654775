"""Decodes the boundaries of WebAssembly instructions by the shape of their immediates. Core specification, section
5.4."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

from .leb128 import Reader, Truncated

MEMORY_GROW = 0x40
END = 0x0B

# immediates of an opcode: n integer, b block type, m memory argument, t br_table, v select types, 4/8/16 constant
# bytes, z one byte
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
}
_SIMD = dict.fromkeys(range(276), "") | dict.fromkeys((*range(12), 92, 93), "m") | dict.fromkeys((12, 13), "16")
_SIMD |= dict.fromkeys(range(21, 35), "z") | dict.fromkeys(range(84, 92), "mz")
# by prefix, then by the number after it
_PREFIXED = {
    0xFC: dict(enumerate([*[""] * 8, "nn", "n", "nn", "n", "nn", "n", "nn", "n", "n", "n"])),
    0xFD: _SIMD,
}


@dataclass(frozen=True)
class Instruction:
    """An instruction: its opcode (prefixed ones as ``prefix << 16 | number``) and its byte range."""

    opcode: int
    start: int
    end: int
    immediate: int = 0


def has_instruction(bodies: Iterable[bytes], opcodes: Container[int]) -> bool:
    """Whether the functions with these `bodies` use one of `opcodes`. True if a body cannot be read."""
    try:
        for body in bodies:
            reader = Reader(body)
            for _ in declared_locals(reader):
                pass
            if any(instruction.opcode in opcodes for instruction in walk(reader)):
                return True
    except (ValueError, Truncated):
        return True
    return False


def declared_locals(reader: Reader) -> Iterator[tuple[int, int]]:
    """The groups of locals before a function's instructions: their count, and the first byte of their type."""
    for _ in range(reader.unsigned()):
        count, valtype = reader.unsigned(), reader.byte()
        if valtype in (0x63, 0x64):  # a typed reference
            reader.skip_integer()
        yield count, valtype


def walk(reader: Reader) -> Iterator[Instruction]:
    """The instructions up to the reader's end.

    Raises ValueError for an unknown one, Truncated if the bytes end early.
    """
    while reader.at < reader.end:
        yield _next(reader)


def _next(reader: Reader) -> Instruction:
    at, opcode = reader.at, reader.byte()
    shape = _SHAPES.get(opcode)
    if shape is None:
        if opcode not in _PREFIXED:
            raise ValueError(f"instruction {opcode:#x} at {at:#x} is unknown")
        number = reader.unsigned()
        shape = _PREFIXED[opcode].get(number)
        if shape is None:
            what = f"SIMD instruction {number}" if opcode == 0xFD else f"instruction {opcode:#x} {number} at {at:#x}"
            raise ValueError(f"{what} is unknown")
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
    """Advance `reader` past the ``end`` of a constant expression."""
    try:
        while _next(reader).opcode != END:
            pass
    except ValueError as error:
        raise Truncated(reader.at, f"a constant expression cannot be read ({error})") from None
