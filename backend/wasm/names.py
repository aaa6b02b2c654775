"""Reads the ``name`` custom section (core specification, appendix 7.4) and the locals in front of a function's code."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from .leb128 import Reader, Truncated

MAX_NAMED_FUNCTIONS = 100_000  # that backtraces know: about 50 ms of reading, once a module
_LONGEST = 1024  # bytes of a name that are decoded
_LENGTH = re.compile(r"[1-9][0-9]{0,3}")
_PATH_END = re.compile(r"E[a-z]{0,32}(?:\.llvm\.[0-9]{1,20})?")  # and parameters of built-in types
_RUST_HASH = re.compile(r"h[0-9a-f]{16}")


@dataclass
class Names:
    """Function names by index, and the names of each function's locals."""

    functions: dict[int, str] = field(default_factory=dict)
    locals: dict[int, dict[int, str]] = field(default_factory=dict)


def read(payload: bytes) -> Names:
    """The names in a section's payload. Names are a help, never a duty: what is malformed is left out."""
    found = Names()
    try:
        reader = Reader(payload, 0, len(payload))
        while reader.at < reader.end:
            kind, size = reader.byte(), reader.unsigned()
            part = Reader(payload, reader.at, min(reader.at + size, reader.end))
            if kind == 1:
                found.functions = _map(part)
            elif kind == 2:
                for _ in range(part.unsigned()):
                    function = part.unsigned()
                    found.locals[function] = _map(part)
            reader.at += size
    except Truncated:
        pass
    return found


def _map(reader: Reader) -> dict[int, str]:
    return {index: reader.name() for index in (reader.unsigned() for _ in range(reader.unsigned()))}


class FunctionNames:
    """Where the name of each function lies in the payload of a name section; a name is decoded when asked for.

    What is malformed ends the reading: names are a help.
    """

    __slots__ = ("_indices", "_payload", "_places")

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._indices, self._places = array("L"), array("L")
        reader = Reader(payload, 0, len(payload))
        try:
            while reader.at < reader.end:
                kind, size = reader.byte(), reader.unsigned()
                if kind == 1:
                    self._read(Reader(payload, reader.at, min(reader.at + size, reader.end)))
                    return
                reader.at += size
        except Truncated:
            pass

    def _read(self, reader: Reader) -> None:
        for _ in range(min(reader.unsigned(), MAX_NAMED_FUNCTIONS)):
            index, place = reader.unsigned(), reader.at
            size = reader.unsigned()
            reader.need(size)
            if self._indices and index <= self._indices[-1]:
                return  # the specification has them in order
            self._indices.append(index)
            self._places.append(place)
            reader.at += size

    def indices(self) -> Sequence[int]:
        """The functions that have a name."""
        return self._indices

    def get(self, index: int) -> str | None:
        """The name of function `index`, its first kilobyte if it is longer; None where it has none."""
        at = bisect_left(self._indices, index)
        if at == len(self._indices) or self._indices[at] != index:
            return None
        reader = Reader(self._payload, self._places[at], len(self._payload))
        size = reader.unsigned()
        return readable(reader.take(min(size, _LONGEST)).decode("utf-8", "ignore"))


def readable(name: str) -> str:
    """A C++ or Rust path without its mangling (``a::b::f``); any other name as it is.

    Only names that write every part out are read: substitutions and templates can stand for gigabytes.
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


def without_custom_sections(wasm: bytes) -> bytes:
    """`wasm` with zeros in place of what its custom sections hold, names included: nothing of it is wanted in machine
    code. Offsets stay what they are in the file."""
    blank = None
    reader = Reader(wasm, 8, len(wasm))
    try:
        while reader.at < reader.end:
            number, size = reader.byte(), reader.unsigned()
            if number == 0 and reader.at + size <= reader.end:
                blank = blank or bytearray(wasm)
                blank[reader.at : reader.at + size] = bytes(size)
            reader.at += size
    except Truncated:
        pass  # the compiler says what is wrong
    return wasm if blank is None else bytes(blank)


def skip_locals(body: bytes) -> int:
    """Where a function's instructions begin."""
    reader = Reader(body, 0, len(body))
    for _ in range(reader.unsigned()):
        reader.unsigned()
        if reader.byte() in (0x63, 0x64):
            reader.skip_integer()
    return reader.at
