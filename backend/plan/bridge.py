"""Generates the bridge, the module between a guest and the adapter.

It exports the guest's functions, memories and globals to the adapter, with the same names and types for every guest. It
owns the adapter's memory, which contains the description of the entry.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..constants import ALIGN, PAGE
from ..wasm import assembler as emit
from ..wasm.binary import FuncType, ModuleInfo
from .buffers import ALLOCATOR_EXPORTS, Allocator, i32_function
from .control import ARGUMENTS_AT, FIXED_AT, TEXTS_AT
from .gufunc_loop import kernel_arguments
from .plan_modules import FUNCTION, GLOBAL, MEMORY, Link, LoweredEntry, ModuleBuilder, PlanModule
from .rewind import REWIND_MAX_BYTES

_MEMORY_SIZE, _MEMORY_GROW = 0x3F, 0x40
_SET_GLOBAL, _GET_GLOBAL = 0x24, 0x23
_COPY, _FILL = 10, 11
_WITH_MEMORY = 0x40  # flag in the alignment: a memory index follows
_ELSE = b"\x05"
_TIMES_PAGE = emit.i32(16) + b"\x74"  # i32.shl
_IF_I32, _END, _EQ, _DROP = bytes([emit.IF, emit.VALTYPES["i32"]]), bytes([emit.END]), b"\x46", b"\x1a"
Bodies = dict[str, tuple[FuncType, bytes]]
"""Functions that the adapter imports, by name: type, code."""


@dataclass
class Bridge:
    """A bridge under construction.

    The guest is module 0; its loop, if any, is module 1. `exposed` are the exports of the guest's mutable globals,
    which are saved and restored with its memory; None if the instance is not rewound.
    """

    guest: ModuleInfo
    entry: str
    entry_type: FuncType
    lowered: LoweredEntry
    exposed: tuple[str, ...] | None
    module: ModuleBuilder = field(default_factory=ModuleBuilder)

    def build(self, fixed: tuple[bytes, bytes, int]) -> PlanModule:
        """The module, with the description of the entry (`pack_fixed`) in the adapter's memory."""
        bodies = self._bodies()  # imports the guest's functions
        self._import_memories()
        valtypes = self._import_globals()
        bodies |= self._memory_bodies() | self._global_bodies(len(valtypes))
        for name, (kind, code) in bodies.items():
            self.module.add_export(name, FUNCTION, self.module.add_function(kind, ["i32"], code))
        self.module.add_export("memory", MEMORY, self._own)
        self.module.add_export("tensors", MEMORY, 0)
        block, texts, end = fixed
        saved_bytes = 0 if self.exposed is None else REWIND_MAX_BYTES
        return self.module.build(
            "bridge",
            memory=b"\0" + emit.unsigned(-(-(end + saved_bytes) // PAGE)),
            globals_=[bytes([emit.VALTYPES[t], 1]) + emit.ZERO[t] + _END for t in valtypes],
            data=[self._data(at, content) for at, content in ((FIXED_AT, block), (TEXTS_AT, texts)) if content],
        )

    # -- imports ---------------------------------------------------------------------------------------------------

    def _calls(self, name: str, kind: FuncType) -> bytes:
        return self.module.import_function(Link(0, name), kind)

    @property
    def _tensors_in(self) -> int:
        """The index of the module whose memory contains the tensors: the loop if it has chunks, else the guest."""
        return 1 if self.lowered.capacity else 0

    @property
    def _state(self) -> int:
        """The index of the memory that is saved. It differs from the tensors' memory only if a loop owns that."""
        return 1 if self.exposed is not None and self._tensors_in else 0

    @property
    def _own(self) -> int:
        return self._state + 1

    def _import_memories(self) -> None:
        for module in (self._tensors_in, 0) if self._state else (self._tensors_in,):
            self.module.add_import(Link(module, "memory"), MEMORY, b"\0\0")

    def _import_globals(self) -> list[str]:
        valtypes = [g.valtype for g in self.guest.globals if g.mutable] if self.exposed else []
        for name, valtype in zip(self.exposed or (), valtypes, strict=True):
            self.module.add_import(Link(0, name), GLOBAL, bytes([emit.VALTYPES[valtype], 1]))
        return valtypes

    # -- exports ---------------------------------------------------------------------------------------------------

    def _bodies(self) -> Bodies:
        """Functions that call the guest's."""
        explains, resets = (self.guest.export(name) is not None for name in ("portalis_error", "portalis_reset"))
        return {
            "allocate": (i32_function(3, 1), self._allocate()),
            "call": (i32_function(4, 1), self._call()),
            "error": (
                i32_function(0, 1),
                self._calls("portalis_error", i32_function(0, 1)) if explains else emit.i32(0),
            ),
            "reset": (i32_function(0), self._calls("portalis_reset", i32_function(0)) if resets else b""),
        }

    def _allocate(self) -> bytes:
        """``allocate(old, old_bytes, bytes)``: an address, or 0. It can free the old block."""
        allocator = self.lowered.allocator
        if allocator is None:
            return emit.i32(0)
        old, old_bytes, size, local, align = emit.get(0), emit.get(1), emit.get(2), 3, emit.i32(ALIGN)

        def calls(name: str) -> bytes:
            return self._calls(name, ALLOCATOR_EXPORTS[allocator][name])

        def freed(name: str) -> bytes:
            return old + bytes([emit.IF, emit.EMPTY]) + old + calls(name) + _END

        if allocator is Allocator.PORTALIS:
            return size + align + calls("portalis_alloc")
        if allocator is Allocator.CABI:
            return old + old_bytes + align + size + calls("cabi_realloc")
        if allocator is Allocator.MALLOC:
            return freed("free") + size + calls("malloc")
        if allocator is Allocator.ASSEMBLYSCRIPT:
            array_buffer = emit.i32(1)  # class id of ArrayBuffer: AssemblyScript's GC does not scan it
            return freed("__unpin") + size + array_buffer + calls("__new") + calls("__pin")
        # Pages at the end of the memory. The old block is at the end already, so only the difference is new. An empty
        # memory would start the block at 0, which means that allocation failed.
        end = bytes([_MEMORY_SIZE, 0]) + _TIMES_PAGE
        start = _either(old, _either(end, align)) + emit.tee(local)
        new = start + size + bytes([emit.I32_ADD]) + end + bytes([emit.I32_SUB])
        pages = new + emit.i32(PAGE - 1) + bytes([emit.I32_ADD]) + emit.i32(16) + bytes([emit.I32_SHR_U])
        failed = pages + bytes([_MEMORY_GROW, 0]) + emit.i32(-1) + _EQ
        return failed + _IF_I32 + emit.i32(0) + _ELSE + emit.get(local) + _END

    def _call(self) -> bytes:
        loop, kernel = self.lowered.loop_type, self.lowered.kernel
        if loop is not None:
            code = b"".join(map(self._argument, range(len(loop.params))))
            code += self.module.import_function(Link(1, "run"), loop)
            return code + (b"" if loop.results else emit.i32(0))
        code = kernel_arguments(kernel, self._argument) if kernel else b"".join(map(emit.get, range(4)))
        code += self._calls(self.entry, self.entry_type)
        return code + (_DROP * len(kernel.type.results) + emit.i32(0) if kernel and not kernel.status else b"")

    def _argument(self, place: int) -> bytes:
        """Code that loads argument `place` from the adapter's memory."""
        return emit.i32(ARGUMENTS_AT + 4 * place) + bytes([emit.LOAD["i32"][0], 2 | _WITH_MEMORY, self._own, 0])

    def _memory_bodies(self) -> Bodies:
        own, state, nothing = self._own, self._state, self.exposed is None
        return {
            "pages": (i32_function(0, 1), bytes([_MEMORY_SIZE, 0])),
            "grow": (i32_function(1, 1), emit.get(0) + bytes([_MEMORY_GROW, 0])),
            "put": (i32_function(3), _copy(0, own)),
            "get": (i32_function(3), _copy(own, 0)),
            "move": (i32_function(3), _copy(0, 0)),
            "zero": (i32_function(2), _fill(0)),
            "state_pages": (i32_function(0, 1), emit.i32(0) if nothing else bytes([_MEMORY_SIZE, state])),
            "state_put": (i32_function(3), b"" if nothing else _copy(state, own)),
            "state_get": (i32_function(3), b"" if nothing else _copy(own, state)),
            "state_zero": (i32_function(2), b"" if nothing else _fill(state)),
        }

    @staticmethod
    def _global_bodies(count: int) -> Bodies:
        """Functions that copy the imported globals to the bridge's own, which follow them, and back."""

        def copies(source: int, target: int) -> bytes:
            pairs = ((source + i, target + i) for i in range(count))
            return b"".join(
                bytes([_GET_GLOBAL]) + emit.unsigned(a) + bytes([_SET_GLOBAL]) + emit.unsigned(b) for a, b in pairs
            )

        return {
            "save_globals": (i32_function(0), copies(0, count)),
            "load_globals": (i32_function(0), copies(count, 0)),
        }

    def _data(self, at: int, content: bytes) -> bytes:
        return b"\x02" + emit.unsigned(self._own) + emit.i32(at) + _END + emit.unsigned(len(content)) + content


def _either(value: bytes, otherwise: bytes) -> bytes:
    """Code for `value`, or for `otherwise` if `value` is 0."""
    return value + _IF_I32 + value + _ELSE + otherwise + _END


def _copy(target: int, source: int) -> bytes:
    return emit.get(0) + emit.get(1) + emit.get(2) + bytes([0xFC, _COPY, target, source])


def _fill(memory: int) -> bytes:
    return emit.get(0) + emit.i32(0) + emit.get(1) + bytes([0xFC, _FILL, memory])
