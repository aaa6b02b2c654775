"""Which loader an ELF executable asks for. The layout is that of the System V ABI, chapters 4 and 5."""

from __future__ import annotations

import struct
from pathlib import Path

_INTERP = 3  # p_type
_MOST = 4096


class NotElf(ValueError):
    """The file is no ELF executable; the text says what it is instead, for behind its name."""


def interpreter_of(path: Path) -> str | None:
    """The loader that the executable names; None where it is linked with nothing. Raises NotElf, OSError."""
    with path.open("rb") as file:
        head = file.read(64)
        if head[:2] == b"#!":
            raise NotElf("is a script; the program itself is needed")
        if head[:4] != b"\x7fELF" or len(head) < 64:
            raise NotElf("is no Linux program")
        wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
        (table,) = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)
        size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
        file.seek(table)
        headers = file.read(size * count)
        for start in range(0, len(headers) - size + 1, max(size, 1)):
            (kind,) = struct.unpack_from(order + "I", headers, start)
            if kind != _INTERP:
                continue
            form, places = (order + "Q", (8, 32)) if wide else (order + "I", (4, 16))
            offset, length = (struct.unpack_from(form, headers, start + place)[0] for place in places)
            file.seek(offset)
            return file.read(min(length, _MOST)).rstrip(b"\0").decode("utf-8", "surrogateescape")
    return None
