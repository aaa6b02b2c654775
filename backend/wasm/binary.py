"""Reads a WebAssembly module's metadata from its binary: types, imports, exports, memories, names, custom sections.

Only small sections are read eagerly. Code and data are skipped by their sizes, so a module of any size is read in
bounded time. Sections that are read item by item have a size limit, so a hostile module is rejected quickly. Core
specification, chapter 5.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import ModuleError
from .instructions import MEMORY_GROW, has_instruction
from .leb128 import Reader, TooMuch, Truncated, Unsupported
from .module_file import read_file
from .name_section import FunctionNames, local_names
from .proposals import PROPOSALS_BY_KEY, refusal_text
from .sections import Export, FuncType, GlobalType, Import, IndexSpaces, MemoryType, read_sections

__all__ = ["Export", "FuncType", "GlobalType", "Import", "MemoryType", "ModuleInfo", "read_module"]

HEADER = b"\0asm\x01\0\0\0"
COMPONENT = b"\0asm\x0d\0\x01\0"
_ORDER = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 13: 6, 6: 7, 7: 8, 8: 9, 9: 10, 12: 11, 10: 12, 11: 13}
_CODE = 10
# Limits of data read in Python, at about 1 µs per byte. They far exceed the output of compilers: 100,000 exports with
# mangled names take about 5 MB.
MAX_SECTIONS = 100_000
MAX_METADATA_BYTES = 16 << 20
"""Maximum size of a module's metadata: all sections except code, data, elements and the contents of custom sections."""
MAX_NAMES_BYTES = 4 << 20
_SKIPPED = (0, 9, 10, 11, 12)  # custom, elements, code, data, data count
Data = bytes | memoryview


@dataclass(frozen=True)
class Section:
    """A section. Its header begins at `at`, its payload (in a custom section, after the name) at `start`."""

    number: int
    name: str
    at: int
    start: int
    end: int


class ModuleInfo:
    """The metadata of a module, which errors refer to as `name`. Immutable; bodies and names are read on demand."""

    def __init__(self, data: Data, found: list[Section], tables: IndexSpaces, name: str) -> None:
        self.name = name
        self._data = data
        self.sections = tuple(found)
        self.size = len(data)
        self.imports = tuple(tables.imports)
        self.exports = tuple(tables.exports)
        self.functions = tuple(tables.functions)
        self.imported_functions = sum(i.kind == "func" for i in tables.imports)
        self.memories = tuple(tables.memories)
        self.tables = tuple(tables.tables)
        self.globals = tuple(tables.globals)
        self.start = tables.start
        self.custom_sections = tuple((s.name, s.end - s.start) for s in found if s.number == 0)
        self._by_name = {e.name: e for e in tables.exports}

    def custom(self, name: str, max_bytes: int | None = None) -> bytes:
        """The concatenated payloads of all custom sections named `name`; empty if they exceed `max_bytes`."""
        found = [s for s in self.sections if s.number == 0 and s.name == name]
        if max_bytes is not None and sum(s.end - s.start for s in found) > max_bytes:
            return b""
        return b"".join(bytes(self._data[s.start : s.end]) for s in found)

    def section(self, number: int) -> Section | None:
        """The section with this id, which must not be 0."""
        return next((s for s in self.sections if s.number == number), None)

    def reader(self, number: int) -> Reader:
        """A reader of the section with this id, or of an empty vector if the module lacks the section."""
        section = self.section(number)
        return Reader(b"\0") if section is None else Reader(self._data, section.start, section.end)

    def export(self, name: str) -> Export | None:
        """The export named `name`, or None."""
        return self._by_name.get(name)

    @functools.cached_property
    def _function_names(self) -> FunctionNames:
        return FunctionNames(self.custom("name", MAX_NAMES_BYTES))

    @functools.cached_property
    def _exported_names(self) -> dict[int, str]:
        return {e.index: e.name for e in reversed(self.exports) if e.kind == "func"}  # the first of several

    def function_name(self, index: int) -> str | None:
        """The function's name in the name section, or else the name of its export."""
        named = self._function_names.get(index)
        return self._exported_names.get(index) if named is None else named

    def named_functions(self) -> Iterator[tuple[int, str]]:
        """The indices and names of all functions with a name, in order."""
        indices = {*self._function_names.indices(), *self._exported_names}
        return ((index, self.function_name(index) or "") for index in sorted(indices))

    def parameter_names(self, index: int) -> tuple[str, ...] | None:
        """The names of all parameters of a function; None if one is unknown or names are not unique."""
        known = local_names(self.custom("name", MAX_NAMES_BYTES), index)
        found = tuple(known.get(i, "") for i in range(len(self.functions[index].params)))
        return found if all(found) and len(set(found)) == len(found) else None

    @functools.cached_property
    def _bodies(self) -> list[tuple[int, int]]:
        reader, spans = self.reader(_CODE), []
        try:
            for _ in range(reader.unsigned()):
                size = reader.unsigned()
                reader.skip(size)
                spans.append((reader.at - size, reader.at))
        except Truncated as error:
            raise ModuleError(f"{self.name} has a code section that cannot be read: {error}") from None
        return spans

    def body(self, index: int) -> bytes | None:
        """The code of a defined function: its locals, then its instructions. None for an imported one."""
        defined = index - self.imported_functions
        if not 0 <= defined < len(self._bodies):
            return None
        start, end = self._bodies[defined]
        return bytes(self._data[start:end])

    def bodies(self) -> Iterator[bytes]:
        """The code of every defined function."""
        return (bytes(self._data[start:end]) for start, end in self._bodies)

    def is_stateless(self) -> bool:
        """Whether the module has no state: no memory, table, mutable global, start function or import."""
        mutable = any(g.mutable for g in self.globals)
        return not (self.memories or self.tables or mutable or self.imports) and self.start is None

    def grows_memory(self) -> bool:
        """Whether a function can grow the memory. True if the code cannot be read."""
        # Reading instructions takes a second per megabyte, so only bodies that contain the bytes of a memory.grow are
        # read: the opcode and a memory index. With a single memory the index is 0 (in one byte, or padded).
        indices = (b"",) if len(self.memories) > 1 else (b"\x00", b"\x80")
        patterns = [bytes([MEMORY_GROW]) + index for index in indices]
        return has_instruction((b for b in self.bodies() if any(pattern in b for pattern in patterns)), {MEMORY_GROW})


def read_module(source: bytes | memoryview | str | os.PathLike[str], name: str = "the module") -> ModuleInfo:
    """Read a module from a file, or from bytes, which errors refer to as `name`. A read-only memoryview is not copied.

    Raises ModuleError.
    """
    if isinstance(source, memoryview) and source.readonly:
        return _read(source, name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _read(bytes(source), name)
    return _read(read_file(source), os.fspath(source))


def _read(data: Data, name: str) -> ModuleInfo:
    _check_header(bytes(data[:64]), len(data), name)
    try:
        found = _found(data, name)
        tables = read_sections((s.number, Reader(data, s.start, s.end)) for s in found)
    except Unsupported as error:
        raise ModuleError(f"{name} {refusal_text(PROPOSALS_BY_KEY[error.proposal], str(error))}") from None
    except TooMuch as error:
        raise ModuleError(f"{name} is not accepted: {error}") from None
    except Truncated as error:
        raise ModuleError(
            f"{name} is not a whole WebAssembly module: {error} (the file has {len(data)} bytes)"
        ) from None
    return ModuleInfo(data, found, tables, name)


def _found(data: Data, name: str) -> list[Section]:
    found: list[Section] = []
    metadata_bytes = 0
    for section in _sections(data):
        found.append(section)
        if section.number not in _SKIPPED:
            metadata_bytes += section.end - section.start
        elif section.number == 0:
            metadata_bytes += section.start - section.at  # its name
        if metadata_bytes > MAX_METADATA_BYTES:
            raise ModuleError(
                f"{name} is not accepted: its types, imports, functions, globals, exports and the names of its sections"
                f" take more than {MAX_METADATA_BYTES:,} bytes"
            )
        if len(found) > MAX_SECTIONS:
            raise ModuleError(f"{name} is not accepted: it has more than {MAX_SECTIONS:,} sections")
    return found


def _check_header(head: bytes, size: int, name: str) -> None:
    if head.startswith(HEADER):
        return
    if size == 0:
        raise ModuleError(f"{name} is empty, not a WebAssembly module")
    if head.startswith(COMPONENT):
        raise ModuleError(
            f"{name} is a WebAssembly component; a core module is needed: build for wasm32-wasip1 or"
            " wasm32-unknown-unknown, without 'wasm-tools component new'"
        )
    if size < len(HEADER) and HEADER.startswith(head):
        raise ModuleError(f"{name} is not a whole WebAssembly module: it ends after {size} bytes")
    if head.startswith(b"\0asm"):
        raise ModuleError(f"{name} has WebAssembly version {head[4:8].hex()}; version 1 is needed")
    kind = next((text for magic, text in _KINDS.items() if head.startswith(magic)), None)
    if kind is None and head.lstrip().startswith((b"(module", b";;", b"(;")):
        kind = "WebAssembly text: convert it with wat2wasm"
    if kind is None and all(32 <= c < 127 or c in b"\r\n\t" for c in head):
        kind = f"text that begins with {head[:24].decode('ascii')!r}"
    raise ModuleError(
        f"{name} is not a WebAssembly module: it {'is ' + kind if kind else 'begins with ' + head[:8].hex()}"
    )


_KINDS = {
    b"\x7fELF": "a native program or library (ELF), or code that wasmtime compiled",
    b"\x1f\x8b": "compressed with gzip: unpack it",
    b"PK\x03\x04": "a zip archive: unpack it",
    b"!<arch>": "a static library: link it",
    b"BC\xc0\xde": "LLVM bitcode: link it",
}


def _sections(data: Data) -> Iterator[Section]:
    reader, last = Reader(data, len(HEADER)), 0
    while reader.at < reader.end:
        at = reader.at
        number, size = reader.byte(), reader.unsigned()
        if size > reader.end - reader.at:
            raise Truncated(at, f"section {number} has {size} bytes, but {reader.end - reader.at} are left")
        start, end = reader.at, reader.at + size
        name = ""
        if number == 0:
            head = Reader(data, start, end)
            name = head.name()
            start = head.at
        elif number not in _ORDER:
            raise Truncated(at, f"section {number} is unknown")
        elif _ORDER[number] <= last:
            raise Truncated(at, f"section {number} is repeated or out of order")
        else:
            last = _ORDER[number]
        yield Section(number, name, at, start, end)
        reader.at = end


def without_custom_sections(wasm: bytes) -> bytes:
    """`wasm` with all custom sections overwritten by zeros, including their names, to keep them out of machine code.

    Offsets in the file do not change.
    """
    blank = None
    with contextlib.suppress(Truncated):  # the compiler reports the error
        for section in _sections(wasm):
            if section.number == 0:
                blank = blank or bytearray(wasm)
                reader = Reader(wasm, section.at + 1)
                reader.skip_integer()  # the size
                blank[reader.at : section.end] = bytes(section.end - reader.at)
    return wasm if blank is None else bytes(blank)
