"""Required and exported symbols of a shared library, read from its section headers (System V ABI, chapters 4 and 5;
little-endian, 64 bits)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MACHINES = {62: "x86_64", 183: "aarch64"}
_SHARED, _DYNSYM, _DYNAMIC, _VERNEED = 3, 11, 6, 0x6FFFFFFE
_NEEDED, _STACK, _EXECUTABLE = 1, 0x6474E551, 1


@dataclass(frozen=True)
class Library:
    """A shared library's bytes."""

    data: bytes

    @classmethod
    def read(cls, path: Path) -> Library:
        data = path.read_bytes()
        kind = struct.unpack_from("<H", data, 16)[0]
        assert data[:6] == b"\x7fELF\x02\x01" and kind == _SHARED, f"{path} is no shared library of 64 bits"
        return cls(data)

    @property
    def machine(self) -> str:
        return MACHINES[struct.unpack_from("<H", self.data, 18)[0]]

    @cached_property
    def sections(self) -> list[tuple[int, int, int, int]]:
        """The type, offset, size and linked section of each."""
        (table,), (size, count) = struct.unpack_from("<Q", self.data, 40), struct.unpack_from("<HH", self.data, 58)
        rows = (struct.unpack_from("<IIQQQQIIQQ", self.data, table + i * size) for i in range(count))
        return [(row[1], row[4], row[5], row[6]) for row in rows]

    def _of(self, kind: int) -> tuple[int, int, int]:
        """The offset and size of the section of this type, and the offset of its texts."""
        (found,) = (section for section in self.sections if section[0] == kind)
        return found[1], found[2], self.sections[found[3]][1]

    def _text(self, at: int) -> str:
        return self.data[at : self.data.index(b"\0", at)].decode()

    @property
    def needed(self) -> list[str]:
        """The libraries that it is loaded with."""
        at, size, texts = self._of(_DYNAMIC)
        pairs = struct.iter_unpack("<QQ", self.data[at : at + size])
        return [self._text(texts + value) for tag, value in pairs if tag == _NEEDED]

    @property
    def versions(self) -> Iterator[str]:
        """The versions of symbols that it needs, such as ``GLIBC_2.17``."""
        at, _, texts = self._of(_VERNEED)
        following = 1
        while following:
            _, count, _, first, following = struct.unpack_from("<HHIII", self.data, at)
            entry = at + first
            for _ in range(count):
                _, _, _, name, step = struct.unpack_from("<IHHII", self.data, entry)
                yield self._text(texts + name)
                entry += step
            at += following

    @property
    def symbols(self) -> Iterator[tuple[str, bool]]:
        """The names that are seen from outside, and whether they are defined here."""
        at, size, texts = self._of(_DYNSYM)
        for name, _, _, section, _, _ in struct.iter_unpack("<IBBHQQ", self.data[at : at + size]):
            if name:
                yield self._text(texts + name), section != 0

    @property
    def has_executable_stack(self) -> bool:
        (table,), (size, count) = struct.unpack_from("<Q", self.data, 32), struct.unpack_from("<HH", self.data, 54)
        headers = [struct.unpack_from("<II", self.data, table + i * size) for i in range(count)]
        return [flags & _EXECUTABLE for kind, flags in headers if kind == _STACK] != [0]
