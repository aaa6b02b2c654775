"""Reader of the type, import, function, table, memory, global, export and start sections of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..constants import PAGE
from .instructions import skip_constant_expression
from .leb128 import Reader, TooMuch, Truncated, Unsupported

VALTYPES = {
    0x7F: "i32",
    0x7E: "i64",
    0x7D: "f32",
    0x7C: "f64",
    0x7B: "v128",
    0x70: "funcref",
    0x6F: "externref",
    0x69: "exnref",
    0x6E: "anyref",
}
NUMBERS = frozenset({"i32", "i64", "f32", "f64"})
# type forms and value types of proposals, with the keys in `proposals`
_FORMS = dict.fromkeys((0x4E, 0x4F, 0x50, 0x5E, 0x5F), "gc") | {0x5D: "stack-switching"}
_FORMS |= {0x65: "shared-everything-threads"}
_REFERENCES = dict.fromkeys((0x6A, 0x6B, 0x6C, 0x6D, 0x71, 0x72, 0x73), "gc") | {0x74: "exceptions"}
_REFERENCES |= {0x65: "shared-everything-threads", 0x68: "stack-switching", 0x75: "stack-switching"}
MAX_ITEMS = 1_000_000
"""Maximum number of items in a section, as in wasmtime."""
KINDS = ("func", "table", "memory", "global", "tag")


@dataclass(frozen=True)
class FuncType:
    """A function's parameter and result types, by name (``i32``, ``f64``, ``v128`` …)."""

    params: tuple[str, ...]
    results: tuple[str, ...]

    def __str__(self) -> str:
        return f"({', '.join(self.params)}) -> ({', '.join(self.results)})"


@dataclass(frozen=True)
class MemoryType:
    """A memory's limits in pages, of 64 KiB except with a proposal."""

    minimum: int
    maximum: int | None
    shared: bool
    memory64: bool
    page_bytes: int = PAGE

    def __str__(self) -> str:
        upper = "" if self.maximum is None else f" to {self.maximum}"
        pages = "page" if self.minimum == 1 and not upper else "pages"
        kind = f"{', shared' if self.shared else ''}{', 64-bit' if self.memory64 else ''}"
        kind += f", page size {self.page_bytes}" if self.page_bytes != PAGE else ""
        return f"{self.minimum}{upper} {pages}{kind}"


@dataclass(frozen=True)
class GlobalType:
    """A global's type."""

    valtype: str
    mutable: bool

    def __str__(self) -> str:
        return f"mut {self.valtype}" if self.mutable else self.valtype


@dataclass(frozen=True)
class TableType:
    """A table's minimum number of elements, and whether its limits are 64-bit."""

    minimum: int
    table64: bool


ExternType = FuncType | MemoryType | GlobalType | None


@dataclass(frozen=True)
class Import:
    """An import; ``kind`` is func, table, memory, global or tag (tables and tags have no type here)."""

    module: str
    name: str
    kind: str
    type: ExternType


@dataclass(frozen=True)
class Export:
    """An export and the index of what it exports."""

    name: str
    kind: str
    index: int
    type: ExternType


@dataclass
class IndexSpaces:
    """The index spaces of a module, imported items first."""

    types: list[FuncType] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    exports: list[Export] = field(default_factory=list)
    functions: list[FuncType] = field(default_factory=list)
    memories: list[MemoryType] = field(default_factory=list)
    globals: list[GlobalType] = field(default_factory=list)
    tables: list[TableType] = field(default_factory=list)
    start: int | None = None


def read_sections(found: Iterable[tuple[int, Reader]]) -> IndexSpaces:
    """The index spaces of a module, from its sections with their numbers. Raises Truncated."""
    tables = IndexSpaces()
    for number, reader in found:
        if number == _START:
            tables.start = reader.unsigned()
        elif number == _FUNCTIONS:
            _functions(reader, tables)
        elif number in _ITEMS:
            read_item = _ITEMS[number]
            for _ in range(_count(reader)):
                read_item(reader, tables)
    return tables


def _count(reader: Reader) -> int:
    at, count = reader.at, reader.unsigned()
    if count > MAX_ITEMS:
        raise TooMuch(at, f"a section of {count:,} items is too long")
    return count


def _valtype(reader: Reader) -> str:
    at, byte = reader.at, reader.byte()
    if byte in (0x63, 0x64):  # a typed reference
        reader.skip_integer()
        return "ref"
    if byte not in VALTYPES:
        raise Unsupported(at, f"value type {byte:#x}", _REFERENCES.get(byte, "unknown"))
    return VALTYPES[byte]


def _valtypes(reader: Reader) -> tuple[str, ...]:
    count, left = reader.unsigned(), reader.end - reader.at
    if count > left:  # every type has at least one byte
        raise Truncated(reader.at, f"{count} items are announced, {left} bytes are left")
    return tuple([_valtype(reader) for _ in range(count)])


def _type(reader: Reader, tables: IndexSpaces) -> None:
    at, form = reader.at, reader.byte()
    if form != 0x60:
        raise Unsupported(at, f"type form {form:#x}", _FORMS.get(form, "unknown"))
    tables.types.append(FuncType(_valtypes(reader), _valtypes(reader)))


def _function_type(reader: Reader, tables: IndexSpaces) -> FuncType:
    at, index = reader.at, reader.unsigned()
    if index >= len(tables.types):
        raise Truncated(at, f"type {index} does not exist")
    return tables.types[index]


def _limits(reader: Reader) -> MemoryType:
    flags = reader.byte()
    bits = 64 if flags & 4 else 32
    minimum = reader.unsigned(bits)
    maximum = reader.unsigned(bits) if flags & 1 else None
    page_bytes = 1 << min(reader.unsigned(), 63) if flags & 8 else PAGE
    return MemoryType(minimum, maximum, bool(flags & 2), bool(flags & 4), page_bytes)


def _table(reader: Reader) -> TableType:
    has_initial_value = reader.data[reader.at : reader.at + 2] == b"\x40\0"
    if has_initial_value:
        reader.at += 2
    _valtype(reader)
    limits = _limits(reader)
    if has_initial_value:
        skip_constant_expression(reader)
    return TableType(limits.minimum, limits.memory64)


def _global_type(reader: Reader) -> GlobalType:
    return GlobalType(_valtype(reader), bool(reader.byte() & 1))


def _import(reader: Reader, tables: IndexSpaces) -> None:
    module, name, at, kind = reader.name(), reader.name(), reader.at, reader.byte()
    found: ExternType = None
    if kind == 0:
        found = _function_type(reader, tables)
        tables.functions.append(found)
    elif kind == 1:
        tables.tables.append(_table(reader))
    elif kind == 2:
        found = _limits(reader)
        tables.memories.append(found)
    elif kind == 3:
        found = _global_type(reader)
        tables.globals.append(found)
    elif kind == 4:
        reader.byte()
        reader.unsigned()
    else:
        raise Truncated(at, f"import kind {kind} is unknown")
    tables.imports.append(Import(module, name, KINDS[kind], found))


def _functions(reader: Reader, tables: IndexSpaces) -> None:
    count, at = _count(reader), reader.at
    if count == reader.end - at:  # each type index is a single byte, the usual case: 30 times as fast
        numbers = reader.take(count)
        if max(numbers, default=0) < min(0x80, len(tables.types)):
            tables.functions += [tables.types[number] for number in numbers]
            return
        reader.at = at
    for _ in range(count):
        tables.functions.append(_function_type(reader, tables))


def _global(reader: Reader, tables: IndexSpaces) -> None:
    tables.globals.append(_global_type(reader))
    skip_constant_expression(reader)


def _export(reader: Reader, tables: IndexSpaces) -> None:
    name, at, kind, index = reader.name(), reader.at, reader.byte(), reader.unsigned()
    if kind >= len(KINDS):
        raise Truncated(at, f"export kind {kind} is unknown")
    spaces: dict[int, Sequence[ExternType]] = {0: tables.functions, 2: tables.memories, 3: tables.globals}
    space = spaces.get(kind)
    if space is not None and index >= len(space):
        raise Truncated(at, f"export '{name}' names {KINDS[kind]} {index}, which does not exist")
    tables.exports.append(Export(name, KINDS[kind], index, space[index] if space is not None else None))


_FUNCTIONS, _START = 3, 8
_ITEMS: dict[int, Callable[[Reader, IndexSpaces], None]] = {
    1: _type,
    2: _import,
    4: lambda reader, tables: tables.tables.append(_table(reader)),
    5: lambda reader, tables: tables.memories.append(_limits(reader)),
    6: _global,
    7: _export,
}
