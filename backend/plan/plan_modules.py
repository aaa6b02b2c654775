"""The modules of a plan, and the builder of the generated ones. Each imports only exports of the modules before it."""

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
    """The source of an import: the index of a module that is instantiated earlier, and the name of its export."""

    module: int
    name: str


@dataclass(frozen=True)
class PlanModule:
    """A module of a plan, with the sources of its imports (none: the host). `builtin` modules are generated here, or
    shipped with this package."""

    wasm: bytes
    links: tuple[Link, ...] = ()
    builtin: bool = True


@dataclass(frozen=True)
class LoweredEntry:
    """The part of a plan that depends on the call convention.

    ``cores`` are each tensor's core dimensions: sizes, or ``-1 - i`` for the named dimension ``i``. ``positions`` are
    addresses of chunks (elementwise) or indices of argument pairs (gufunc).
    """

    allocator: Allocator | None = None
    loop: PlanModule | None = None
    loop_type: FuncType | None = None  # type of its `run`
    kernel: Kernel | None = None  # if it loops over the batch itself
    symbols: Sequence[str] = ()
    positions: Sequence[int] = ()
    cores: Sequence[Sequence[int]] = ()
    capacity: int = 0  # elements per chunk in the loop's memory
    end: int = 0  # address after the chunks


class ModuleBuilder:
    """A module under construction. Functions are imported before any is defined, because imports have lower indices."""

    def __init__(self) -> None:
        self._links: list[Link] = []
        self._types: list[bytes] = []
        self._imports: list[bytes] = []
        self._exports: list[bytes] = []
        self._functions: list[tuple[int, bytes]] = []  # type, code
        self._imported = 0  # functions
        self._names: dict[int, str] = {}

    def type(self, kind: FuncType) -> int:
        """The index of a function type, which is added if it is new."""
        encoded = emit.func_type(kind.params, kind.results)
        if encoded not in self._types:
            self._types.append(encoded)
        return self._types.index(encoded)

    def add_import(self, link: Link, kind: int, description: bytes, name: str = "") -> None:
        """Import the export of `link`, under `name` or its own name."""
        self._imports.append(emit.name("guest") + emit.name(name or link.name) + bytes([kind]) + description)
        self._links.append(link)

    def import_function(self, link: Link, kind: FuncType, name: str = "") -> bytes:
        """Import a function; returns the code that calls it."""
        self.add_import(link, FUNCTION, emit.unsigned(self.type(kind)), name)
        self._imported += 1
        return bytes([emit.CALL]) + emit.unsigned(self._imported - 1)

    def add_function(self, kind: FuncType, locals_: Sequence[str], code: bytes, name: str = "") -> int:
        """Add a function; returns its index. Backtraces show the `name`."""
        self._functions.append((self.type(kind), emit.function(locals_, code)))
        number = self._imported + len(self._functions) - 1
        if name:
            self._names[number] = name
        return number

    def add_export(self, name: str, kind: int, number: int) -> None:
        """Export item `number` of a kind (FUNCTION, MEMORY or GLOBAL)."""
        self._exports.append(emit.name(name) + bytes([kind]) + emit.unsigned(number))

    def build(
        self, title: str, *, memory: bytes = b"", globals_: Sequence[bytes] = (), data: Sequence[bytes] = ()
    ) -> PlanModule:
        """The module, named `title` in backtraces, with a `memory` of that type, if any."""
        types, codes = [emit.unsigned(kind) for kind, _ in self._functions], [code for _, code in self._functions]
        sections = {1: self._types, 2: self._imports, 3: types, 5: [memory] if memory else [], 6: globals_}
        sections |= {7: self._exports, 10: codes, 11: data}
        filled = [emit.section(number, emit.vector(items)) for number, items in sections.items() if items]
        return PlanModule(emit.module(*filled, emit.name_section(title, self._names)), tuple(self._links))
