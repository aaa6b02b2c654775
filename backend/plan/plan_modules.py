"""What a plan consists of: modules whose imports are exports of modules before them, and how the generated ones are
written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..interface.gufunc import Kernel
from ..wasm import assembler as emit
from ..wasm.binary import FuncType
from .buffers import Allocator

FUNCTION, MEMORY, GLOBAL = 0, 2, 3


@dataclass(frozen=True)
class Link:
    """Where an import comes from: the number of a module that was instantiated before, and its export."""

    module: int
    name: str


@dataclass(frozen=True)
class PlanModule:
    """A module of a plan, and where its imports come from (none: from the host). `own`: generated here, or our own."""

    wasm: bytes
    links: tuple[Link, ...] = ()
    own: bool = True


@dataclass(frozen=True)
class LoweredEntry:
    """What is particular to a convention. ``cores`` are each tensor's core dimensions: sizes, or -1 - the number of a
    named one; ``positions`` are places of chunks (elementwise) or pairs of arguments (gufunc)."""

    allocator: Allocator | None = None
    loop: PlanModule | None = None
    loop_type: FuncType | None = None  # of its `run`
    kernel: Kernel | None = None  # that loops over the batch itself
    symbols: Sequence[str] = ()
    positions: Sequence[int] = ()
    cores: Sequence[Sequence[int]] = ()
    capacity: int = 0  # elements of a chunk in the loop's memory, and where the chunks end
    end: int = 0


class ModuleBuilder:
    """A module in the making. What it imports is numbered first: functions are imported before any is defined."""

    def __init__(self) -> None:
        self._links: list[Link] = []
        self._types: list[bytes] = []
        self._imports: list[bytes] = []
        self._exports: list[bytes] = []
        self._functions: list[tuple[int, bytes]] = []  # type, code
        self._imported = 0  # functions
        self._names: dict[int, str] = {}

    def type(self, kind: FuncType) -> int:
        """The number of a function type."""
        made = emit.func_type(kind.params, kind.results)
        if made not in self._types:
            self._types.append(made)
        return self._types.index(made)

    def add_import(self, link: Link, kind: int, description: bytes, name: str = "") -> None:
        """Import what `link` leads to, which has its own name unless a `name` is given."""
        self._imports.append(emit.name("guest") + emit.name(name or link.name) + bytes([kind]) + description)
        self._links.append(link)

    def import_function(self, link: Link, kind: FuncType, name: str = "") -> bytes:
        """Import a function: the code that calls it."""
        self.add_import(link, FUNCTION, emit.unsigned(self.type(kind)), name)
        self._imported += 1
        return bytes([emit.CALL]) + emit.unsigned(self._imported - 1)

    def add_function(self, kind: FuncType, locals_: Sequence[str], code: bytes, name: str = "") -> int:
        """Add a function; its number. Backtraces show the `name`."""
        self._functions.append((self.type(kind), emit.function(locals_, code)))
        number = self._imported + len(self._functions) - 1
        if name:
            self._names[number] = name
        return number

    def add_export(self, name: str, kind: int, number: int) -> None:
        self._exports.append(emit.name(name) + bytes([kind]) + emit.unsigned(number))

    def build(
        self, title: str, *, memory: bytes = b"", globals_: Sequence[bytes] = (), data: Sequence[bytes] = ()
    ) -> PlanModule:
        """The module, called `title` in backtraces, with a `memory` of that type, if any."""
        types, codes = [emit.unsigned(kind) for kind, _ in self._functions], [code for _, code in self._functions]
        sections = {1: self._types, 2: self._imports, 3: types, 5: [memory] if memory else [], 6: globals_}
        sections |= {7: self._exports, 10: codes, 11: data}
        filled = [emit.section(number, emit.vector(items)) for number, items in sections.items() if items]
        return PlanModule(emit.module(*filled, emit.name_section(title, self._names)), tuple(self._links))
