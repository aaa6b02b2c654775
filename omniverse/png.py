"""PNG pictures: whether a given one is one, and the icon and the preview of an extension that brings none: nested
squares, an open door, in four colours."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

MAX_BYTES = 8 << 20
SMALLEST, LARGEST = 16, 4096  # pixels a side: Kit shows an icon at 72 and more, and a preview in a pane
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE = bytes.fromhex("1a1f2b654ff076b900f4f4f8")  # ground, WebAssembly's violet, green, white


def trouble(path: Path) -> str | None:
    """Why the file is no PNG that Kit can show, to be read after its name; None where it is one. Raises OSError."""
    if path.stat().st_size > MAX_BYTES:
        return f"has {path.stat().st_size:,} bytes, and a picture that Kit loads for a list has at most {MAX_BYTES:,}"
    data = path.read_bytes()
    if not data.startswith(SIGNATURE):
        return "is no PNG, which is what Kit shows"
    try:
        chunks = list(_chunks(data))
    except ValueError as problem:
        return f"is a damaged PNG: {problem}"
    header = chunks[0][1] if chunks and chunks[0][0] == b"IHDR" else b""
    if len(header) != 13 or chunks[-1][0] != b"IEND" or not any(kind == b"IDAT" for kind, _ in chunks):
        return "is a damaged PNG: its header, its pixels or its end is missing"
    width, height = struct.unpack(">II", header[:8])
    if not all(SMALLEST <= side <= LARGEST for side in (width, height)):
        return f"has {width} x {height} pixels, and Kit shows pictures of {SMALLEST} to {LARGEST} a side"
    return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks up to the end of the picture. Raises ValueError for one that is cut off or has another checksum."""
    at = len(SIGNATURE)
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8]) if at + 8 <= len(data) else (0, b"")
        body, checksum = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        if len(checksum) != 4:
            raise ValueError("it is cut off")
        if zlib.crc32(kind + body) != int.from_bytes(checksum, "big"):
            raise ValueError(f"the checksum of its {kind.decode('latin-1')!a} chunk is wrong")
        yield kind, body
        if kind == b"IEND":
            return
        at += 12 + length


def draw(width: int, height: int) -> bytes:
    """A PNG of `width` times `height` pixels, both multiples of 4. The same size gives the same bytes."""
    rows = b"".join(b"\0" + _packed([_colour(x, y, width, height) for x in range(width)]) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 2, 3, 0, 0, 0)  # 2 bits a pixel, from a palette
    chunks = ((b"IHDR", header), (b"PLTE", _PALETTE), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def _colour(x: int, y: int, width: int, height: int) -> int:
    """The place in the palette: rings by their distance from the middle, in eighths of the shorter side."""
    distance = max(abs(2 * x + 1 - width), abs(2 * y + 1 - height)) * 8 // min(width, height)
    return (3, 3, 2, 0, 1, 1)[distance] if distance < 6 else 0


def _packed(colours: list[int]) -> bytes:
    quads = zip(colours[0::4], colours[1::4], colours[2::4], colours[3::4])
    return bytes(a << 6 | b << 4 | c << 2 | d for a, b, c, d in quads)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
