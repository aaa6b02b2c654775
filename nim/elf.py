"""Reads which loader an ELF executable requests. The layout is that of the System V ABI, chapters 4 and 5."""

from __future__ import annotations

import struct
from pathlib import Path

_PT_INTERP = 3
_MAX_PATH_BYTES = 4096


class NotElf(ValueError):
    """The file is not an ELF executable; the message continues after the file's name."""


def interpreter_of(path: Path) -> str | None:
    """The loader that the executable names; None if it is statically linked. Raises NotElf, OSError."""
    with path.open("rb") as file:
        header = file.read(64)
        if header[:2] == b"#!":
            raise NotElf("is a script; expected the executable itself")
        if header[:4] != b"\x7fELF" or len(header) < 64:
            raise NotElf("is not a Linux executable")
        is_64_bit, order = header[4] == 2, "<" if header[5] == 1 else ">"
        (table,) = struct.unpack_from(order + ("Q" if is_64_bit else "I"), header, 32 if is_64_bit else 28)
        size, count = struct.unpack_from(order + "HH", header, 54 if is_64_bit else 42)
        file.seek(table)
        headers = file.read(size * count)
        for start in range(0, len(headers) - size + 1, max(size, 1)):
            (segment_type,) = struct.unpack_from(order + "I", headers, start)
            if segment_type != _PT_INTERP:
                continue
            form, fields = (order + "Q", (8, 32)) if is_64_bit else (order + "I", (4, 16))
            offset, length = (struct.unpack_from(form, headers, start + field)[0] for field in fields)
            file.seek(offset)
            return file.read(min(length, _MAX_PATH_BYTES)).rstrip(b"\0").decode("utf-8", "surrogateescape")
    return None
