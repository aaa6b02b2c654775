"""The ``producers`` section of a module: the language that it was written in, and the tools that made it.

Layout: https://github.com/WebAssembly/tool-conventions, ProducersSection.md. Anyone can write anything there.
"""

from __future__ import annotations

from dataclasses import dataclass

from .binary import ModuleInfo
from .leb128 import Reader, Truncated

SECTION = "producers"
MAX_BYTES = 64 << 10
MAX_VALUES = 256
MAX_TEXT = 256


@dataclass(frozen=True)
class Producer:
    """`field` is ``language``, ``processed-by``, ``sdk`` or another; `version` may be empty."""

    field: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}" if self.version else self.name


def of_module(module: ModuleInfo) -> tuple[Producer, ...]:
    """What a module says of its making, in the order of the section; nothing where that is too long to be meant."""
    return read(module.custom(SECTION, MAX_BYTES))


def read(payload: bytes) -> tuple[Producer, ...]:
    """The producers in a section's payload. It is a help, never a duty: what is malformed, or too long to be meant, is
    left out, and all that follows with it."""
    found: list[Producer] = []
    reader = Reader(payload)
    try:
        for _ in range(reader.unsigned()):
            field = _text(reader)
            for _ in range(reader.unsigned()):
                name, version = _text(reader), _text(reader)
                if len(found) == MAX_VALUES:
                    return tuple(found)
                found.append(Producer(field=field, name=name, version=version))
    except Truncated:
        pass
    return tuple(found)


def _text(reader: Reader) -> str:
    start, text = reader.at, reader.name()
    if len(text) > MAX_TEXT:
        raise Truncated(start, "a text is too long")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
