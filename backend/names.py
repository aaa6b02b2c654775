"""Reads the ``name`` custom section (core specification, appendix 7.4) and the locals in front of a function's code."""

from __future__ import annotations

from dataclasses import dataclass, field

from .leb128 import Reader, Truncated


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


def skip_locals(body: bytes) -> int:
    """Where a function's instructions begin."""
    reader = Reader(body, 0, len(body))
    for _ in range(reader.unsigned()):
        reader.unsigned()
        if reader.byte() in (0x63, 0x64):
            reader.skip_integer()
    return reader.at
