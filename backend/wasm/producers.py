"""Reader of the ``producers`` section: source language and tools of a module, and how to export a function in them.

Layout: https://github.com/WebAssembly/tool-conventions, ProducersSection.md. The content is untrusted.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from .binary import ModuleInfo
from .leb128 import Reader, Truncated

PRODUCERS_SECTION = "producers"
MAX_SECTION_BYTES = 64 << 10
MAX_VALUES = 256
MAX_TEXT = 256
# syntax to export a function, by words in the names of the language and the tools; the first match is used
_EXPORT_SYNTAX = (
    (("rust", "rustc"), '#[no_mangle] pub extern "C" fn in a library of crate-type cdylib'),
    (("zig",), "export fn, and -rdynamic or --export=NAME for the linker"),
    (("tinygo", "go"), "//go:wasmexport NAME above the function (TinyGo also takes //export NAME)"),
    (("assemblyscript",), "export function, in the entry file"),
    (("swift",), '@_expose(wasm, "NAME") before the function'),
    (("c++", "c_plus_plus"), 'extern "C" __attribute__((export_name("NAME")))'),
    (("c", "clang"), '__attribute__((export_name("NAME")))'),
)
_ANY_LANGUAGE = (
    'in C __attribute__((export_name("NAME"))) or -Wl,--export=NAME, in Rust #[no_mangle] pub extern "C" fn of a'
    " cdylib, in Go //go:wasmexport NAME, in AssemblyScript export function"
)


@dataclass(frozen=True)
class Producer:
    """A language or tool. `field` is ``language``, ``processed-by``, ``sdk`` or another; `version` can be empty."""

    field: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}" if self.version else self.name


def module_producers(module: ModuleInfo) -> tuple[Producer, ...]:
    """The producers of a module, in the order of the section; empty if the section is too long to be genuine."""
    return parse_producers(module.custom(PRODUCERS_SECTION, MAX_SECTION_BYTES))


def parse_producers(payload: bytes) -> tuple[Producer, ...]:
    """The producers in a section's payload. A malformed or too long item is omitted, with all items after it."""
    found: list[Producer] = []
    reader = Reader(payload)
    with contextlib.suppress(Truncated):
        for _ in range(reader.unsigned()):
            field = _text(reader)
            for _ in range(reader.unsigned()):
                if len(found) == MAX_VALUES:
                    return tuple(found)
                found.append(Producer(field=field, name=_text(reader), version=_text(reader)))
    return tuple(found)


def _text(reader: Reader) -> str:
    start, text = reader.at, reader.name()
    if len(text) > MAX_TEXT:
        raise Truncated(start, "a text is too long")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def export_advice(info: ModuleInfo) -> str:
    """The advice to export a function, in the language of the module if its section names it."""
    words = {word for each in module_producers(info) for word in each.name.lower().replace("/", " ").split()}
    # "C11" or "C_plus_plus_14" end with the year of their standard
    words |= {word.rstrip("0123456789").rstrip("_") for word in words}
    found = next((text for names, text in _EXPORT_SYNTAX if words & set(names)), _ANY_LANGUAGE)
    return f"export the function to call ({found})"
