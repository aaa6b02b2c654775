"""Reader of data and element segments: their sizes, and their offsets if those are constants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .binary import ModuleInfo
from .instructions import END, skip_constant_expression
from .leb128 import Reader, TooMuch

ELEMENTS, DATA = 9, 11
MAX_SEGMENTS = 100_000
"""Maximum number of segments in a section, as in wasmtime."""
MAX_ITEMS = 500_000
"""Maximum number of elements that are read; the engine checks segments after them."""
_I32_CONST = 0x41
# flags of an element segment: core specification, section 5.5.12
_PASSIVE, _INDEXED, _EXPRESSIONS = 1, 2, 4


@dataclass(frozen=True)
class Segment:
    """Segment number `index` of its section.

    An active segment has a `target`, the index of its memory or table, and an offset `at` in it, which is None if it is
    not a constant.
    """

    index: int
    target: int | None
    at: int | None
    size: int


def segments(info: ModuleInfo, number: int) -> Iterator[Segment]:
    """The segments of section DATA, with sizes in bytes, or ELEMENTS, with sizes in elements. Raises Truncated if the
    bytes are malformed."""
    reader, skipped = info.reader(number), 0
    count = reader.unsigned()
    if count > MAX_SEGMENTS:
        raise TooMuch(reader.at, f"a section of {count:,} segments is too long")
    for index in range(count):
        flags = reader.unsigned()
        target = None if flags & _PASSIVE else reader.unsigned() if flags & _INDEXED else 0
        at = None if target is None else _offset(reader)
        if number == ELEMENTS and flags & (_PASSIVE | _INDEXED):
            _skip_kind(reader, expressions=bool(flags & _EXPRESSIONS))
        size = reader.unsigned()
        if number == DATA:
            reader.skip(size)
        yield Segment(index, target, at, size)
        if number == ELEMENTS and index < count - 1:
            skipped += size
            if skipped > MAX_ITEMS:
                raise TooMuch(reader.at, f"segments of {skipped:,} elements are too long")
            skip = skip_constant_expression if flags & _EXPRESSIONS else Reader.skip_integer
            for _ in range(size):
                skip(reader)


def _skip_kind(reader: Reader, *, expressions: bool) -> None:
    if reader.byte() in (0x63, 0x64) and expressions:  # a typed reference
        reader.skip_integer()


def _offset(reader: Reader) -> int | None:
    """The unsigned value of an offset expression; None unless it is a single constant."""
    start = Reader(reader.data, reader.at, reader.end)
    skip_constant_expression(reader)
    if start.byte() != _I32_CONST:
        return None
    value = start.signed() & 0xFFFFFFFF
    return value if start.byte() == END and start.at == reader.at else None
