"""Checks whether a file is a PNG that Kit can show."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

MAX_BYTES = 8 << 20
SMALLEST, LARGEST = 16, 4096  # pixels a side: Kit shows an icon at 72 and more, and a preview in a pane
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_problem(path: Path) -> str | None:
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
