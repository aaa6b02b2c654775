"""Checks whether a file is a PNG that Kit can display."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

MAX_BYTES = 8 << 20
_MIN_SIDE, _MAX_SIDE = 16, 4096  # pixels: Kit shows an icon at 72 or more, and a preview image in a pane
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_problem(path: Path) -> str | None:
    """The reason why Kit cannot display the file, to be read after its name, or None. Raises OSError."""
    if path.stat().st_size > MAX_BYTES:
        return f"has {path.stat().st_size:,} bytes, but an image of an extension can have at most {MAX_BYTES:,}"
    data = path.read_bytes()
    if not data.startswith(SIGNATURE):
        return "is not a PNG, the only format that Kit displays"
    try:
        chunks = list(_chunks(data))
    except ValueError as error:
        return f"is a damaged PNG: {error}"
    header = chunks[0][1] if chunks and chunks[0][0] == b"IHDR" else b""
    if len(header) != 13 or chunks[-1][0] != b"IEND" or not any(kind == b"IDAT" for kind, _ in chunks):
        return "is a damaged PNG: its header, image data or end is missing"
    width, height = struct.unpack(">II", header[:8])
    if not all(_MIN_SIDE <= side <= _MAX_SIDE for side in (width, height)):
        return f"has {width} x {height} pixels, but each side must have {_MIN_SIDE} to {_MAX_SIDE}"
    return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks up to the end of the image. Raises ValueError for a truncated chunk or a wrong checksum."""
    offset = len(SIGNATURE)
    while offset < len(data):
        length, kind = struct.unpack(">I4s", data[offset : offset + 8]) if offset + 8 <= len(data) else (0, b"")
        body, checksum = data[offset + 8 : offset + 8 + length], data[offset + 8 + length : offset + 12 + length]
        if len(checksum) != 4:
            raise ValueError("it is truncated")
        if zlib.crc32(kind + body) != int.from_bytes(checksum, "big"):
            raise ValueError(f"the checksum of its {kind.decode('latin-1')!a} chunk is wrong")
        yield kind, body
        if kind == b"IEND":
            return
        offset += 12 + length
