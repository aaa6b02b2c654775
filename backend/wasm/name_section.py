"""Reader of the ``name`` custom section (core specification, appendix 7.4).

Names are optional information: malformed data ends the reading, and the names before it are used.
"""

from __future__ import annotations

import contextlib
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from .leb128 import Reader, Truncated

_FUNCTIONS, _LOCALS = 1, 2

MAX_NAMED_FUNCTIONS = 100_000
"""Maximum number of function names that are read, in about 50 ms, once per module."""
_LONGEST = 1024  # bytes of a name that are decoded
_LENGTH = re.compile(r"[1-9][0-9]{0,3}")
_PATH_END = re.compile(r"E[a-z]{0,32}(?:\.llvm\.[0-9]{1,20})?")  # and parameters of built-in types
_RUST_HASH = re.compile(r"h[0-9a-f]{16}")


def _subsections(payload: bytes, kind: int) -> Iterator[Reader]:
    """Readers of the subsections of a `kind`. Raises Truncated after the last complete one."""
    reader = Reader(payload)
    while reader.at < reader.end:
        number, size = reader.byte(), reader.unsigned()
        if number == kind:
            yield Reader(payload, reader.at, min(reader.at + size, reader.end))
        reader.at += size


def local_names(payload: bytes, function: int) -> dict[int, str]:
    """The names of a function's parameters and locals by their indices."""
    found: dict[int, str] = {}
    with contextlib.suppress(Truncated):
        for part in _subsections(payload, _LOCALS):
            for _ in range(part.unsigned()):
                owner, count = part.unsigned(), part.unsigned()
                named = {index: part.name() for index in (part.unsigned() for _ in range(count))}
                found = named if owner == function else found
    return found


class FunctionNames:
    """The function names in the payload of a name section. Offsets are indexed; names are decoded on demand."""

    __slots__ = ("_indices", "_offsets", "_payload")

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._indices, self._offsets = array("L"), array("L")
        with contextlib.suppress(Truncated):
            for part in _subsections(payload, _FUNCTIONS):
                self._read(part)
                return

    def _read(self, reader: Reader) -> None:
        for _ in range(min(reader.unsigned(), MAX_NAMED_FUNCTIONS)):
            index, offset = reader.unsigned(), reader.at
            reader.skip(reader.unsigned())
            if self._indices and index <= self._indices[-1]:
                return  # the specification requires ascending order
            self._indices.append(index)
            self._offsets.append(offset)

    def indices(self) -> Sequence[int]:
        """The indices of the functions with a name."""
        return self._indices

    def get(self, index: int) -> str | None:
        """The name of function `index`, truncated to one kilobyte; None if it has none."""
        at = bisect_left(self._indices, index)
        if at == len(self._indices) or self._indices[at] != index:
            return None
        reader = Reader(self._payload, self._offsets[at])
        size = reader.unsigned()
        return demangled(reader.take(min(size, _LONGEST)).decode("utf-8", "ignore"))


def demangled(name: str) -> str:
    """The path ``a::b::f`` for a mangled C++ or Rust name; any other name unchanged.

    Names with substitutions or templates are not demangled, because they can expand to gigabytes.
    """
    if not name.startswith("_ZN"):
        return name
    at, parts = 3, []
    while (digits := _LENGTH.match(name, at)) is not None:
        start, at = digits.end(), digits.end() + int(digits[0])
        parts.append(name[start:at])
    if not parts or not _PATH_END.fullmatch(name, at):
        return name
    if len(parts) > 1 and _RUST_HASH.fullmatch(parts[-1]):
        parts.pop()
    return "::".join(parts)
