"""Generates the bridge: a module that gives the adapter the guest's functions, memories and globals, under names and
types that are the same for every guest. It owns the adapter's memory, with what that knows of the entry in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..facts import ALIGN, PAGE
from ..interface.gufunc import Kernel
from ..wasm import assembler as emit
from ..wasm.binary import FuncType, ModuleInfo
from .buffers import Allocator
from .control import ARGUMENTS_AT, FIXED_AT, TEXTS_AT, Fixed
from .rewind import MAX_BYTES

I32 = ("i32",)
_FUNC, _MEMORY, _GLOBAL = 0, 2, 3
_MEMORY_SIZE, _MEMORY_GROW = 0x3F, 0x40
_SET_GLOBAL, _GET_GLOBAL = 0x24, 0x23
_COPY, _FILL = 10, 11
_WITH_MEMORY = 0x40  # in the alignment: a memory's number follows
_ELSE = b"\x05"
_TIMES_PAGE = emit.i32(16) + b"\x74"  # i32.shl
_IF_I32, _END, _EQ = bytes([emit.IF, emit.VALTYPES["i32"]]), bytes([emit.END]), b"\x46"


@dataclass(frozen=True)
class Link:
    """Where an import comes from: the number of a module that was instantiated before, and its export."""

    module: int
    name: str


@dataclass
class Bridge:
    """A bridge in the making. `guest` is module 0; `loop` is module 1, where there is one."""

    guest: ModuleInfo
    entry: str
    fixed: Fixed
    allocator: Allocator | None
    loop: FuncType | None  # of its `run`
    kernel: Kernel | None = None  # that loops over the batch itself
    tensors_in: int = 0  # the module whose memory holds the tensors
    has_state: bool = False  # whether the guest's memory and globals are saved and put back
    globals: tuple[str, ...] = ()
    links: list[Link] = field(default_factory=list)
    _types: list[bytes] = field(default_factory=list)
    _imports: list[bytes] = field(default_factory=list)
    _functions: int = 0

    def build(self) -> bytes:
        """The module's bytes; `links` are the sources of its imports, in order, afterwards."""
        bodies, own = self._bodies(), self._own
        self._import_memories()
        valtypes = self._import_globals()
        bodies |= self._memory_bodies() | self._global_bodies(len(valtypes))
        indices = [self._type(params, results) for params, results, _ in bodies.values()]
        first = self._functions
        exports = [emit.name(name) + b"\0" + emit.unsigned(first + i) for i, name in enumerate(bodies)]
        exports += [emit.name("memory") + b"\x02" + emit.unsigned(own), emit.name("tensors") + b"\x02\0"]
        globals_ = [bytes([emit.VALTYPES[t], 1]) + emit.ZERO[t] + bytes([emit.END]) for t in valtypes]
        block, texts, end = self.fixed.data()
        room = MAX_BYTES if self.has_state else 0
        data = [self._data(own, at, content) for at, content in ((FIXED_AT, block), (TEXTS_AT, texts)) if content]
        return emit.module(
            emit.section(1, emit.vector(self._types)),
            emit.section(2, emit.vector(self._imports)),
            emit.section(3, emit.vector([emit.unsigned(index) for index in indices])),
            emit.section(5, emit.vector([b"\0" + emit.unsigned(-(-(end + room) // PAGE))])),
            emit.section(6, emit.vector(globals_)),
            emit.section(7, emit.vector(exports)),
            emit.section(10, emit.vector([emit.function(["i32"], code) for _, _, code in bodies.values()])),
            emit.section(11, emit.vector(data)),
            emit.name_section("bridge", {}),
        )

    # -- what is imported ------------------------------------------------------------------------------------------

    def _type(self, params: Sequence[str], results: Sequence[str]) -> int:
        made = emit.func_type(params, results)
        if made not in self._types:
            self._types.append(made)
        return self._types.index(made)

    def _import(self, module: int, name: str, kind: int, what: bytes) -> None:
        self._imports.append(emit.name("guest") + emit.name(name) + bytes([kind]) + what)
        self.links.append(Link(module, name))

    def _function(self, name: str, params: Sequence[str], results: Sequence[str], module: int = 0) -> bytes:
        """The code that calls `name`."""
        self._import(module, name, _FUNC, emit.unsigned(self._type(params, results)))
        self._functions += 1
        return bytes([emit.CALL]) + emit.unsigned(self._functions - 1)

    @property
    def _state(self) -> int:
        """The number of the memory that is saved: another than that of the tensors only where a loop has these."""
        return 1 if self.has_state and self.tensors_in else 0

    @property
    def _own(self) -> int:
        return self._state + 1

    def _import_memories(self) -> None:
        self._import(self.tensors_in, "memory", _MEMORY, b"\0\0")
        if self._state:
            self._import(0, "memory", _MEMORY, b"\0\0")

    def _import_globals(self) -> list[str]:
        valtypes = [g.valtype for g in self.guest.globals if g.mutable] if self.globals else []
        for name, valtype in zip(self.globals, valtypes, strict=True):
            self._import(0, name, _GLOBAL, bytes([emit.VALTYPES[valtype], 1]))
        return valtypes

    # -- what is given ---------------------------------------------------------------------------------------------

    def _bodies(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...], bytes]]:
        """Functions that call the guest's: the imports of functions come first."""
        has = {name for name in ("portalis_error", "portalis_reset") if self.guest.export(name) is not None}
        return {
            "allocate": (I32 * 3, I32, self._allocate()),
            "call": (I32 * 4, I32, self._call()),
            "error": ((), I32, self._function("portalis_error", (), I32) if "portalis_error" in has else emit.i32(0)),
            "reset": ((), (), self._function("portalis_reset", (), ()) if "portalis_reset" in has else b""),
        }

    def _allocate(self) -> bytes:
        """``allocate(old, old_bytes, bytes)``: an address, or 0. It may free the old block."""
        old, old_bytes, size, local = emit.get(0), emit.get(1), emit.get(2), 3
        align = emit.i32(ALIGN)

        def freed(call: bytes) -> bytes:
            return old + bytes([emit.IF, emit.EMPTY]) + old + call + bytes([emit.END])

        if self.allocator is Allocator.PORTALIS:
            return size + align + self._function("portalis_alloc", I32 * 2, I32)
        if self.allocator is Allocator.CABI:
            return old + old_bytes + align + size + self._function("cabi_realloc", I32 * 4, I32)
        if self.allocator is Allocator.MALLOC:
            return freed(self._function("free", I32, ())) + size + self._function("malloc", I32, I32)
        if self.allocator is Allocator.ASSEMBLYSCRIPT:
            array_buffer = emit.i32(1)  # its id, into which AssemblyScript's garbage collector does not look
            code = freed(self._function("__unpin", I32, ())) + size + array_buffer
            return code + self._function("__new", I32 * 2, I32) + self._function("__pin", I32, I32)
        if self.allocator is None:
            return emit.i32(0)
        # Pages at the end of memory. The old block is that end: only the difference is new. A memory that begins with
        # no page has its first bytes at 0, which stands for "no room".
        end = bytes([_MEMORY_SIZE, 0]) + _TIMES_PAGE
        start = old + _IF_I32 + old + _ELSE + end + _IF_I32 + end + _ELSE + align + _END + _END + emit.tee(local)
        new = start + size + bytes([emit.I32_ADD]) + end + bytes([emit.I32_SUB])
        pages = new + emit.i32(PAGE - 1) + bytes([emit.I32_ADD]) + emit.i32(16) + bytes([emit.I32_SHR_U])
        failed = pages + bytes([_MEMORY_GROW, 0]) + emit.i32(-1) + _EQ
        return failed + _IF_I32 + emit.i32(0) + _ELSE + emit.get(local) + _END

    def _call(self) -> bytes:
        if self.loop is not None:
            code = b"".join(self._argument(i) for i in range(len(self.loop.params)))
            code += self._function("run", self.loop.params, self.loop.results, module=1)
            return code + (b"" if self.loop.results else emit.i32(0))
        if self.kernel is not None:
            kind = self.kernel.type
            code = b"".join(self._kernel_argument(i) for i in range(len(kind.params)))
            code += self._function(self.entry, kind.params, kind.results)
            return code + (b"" if self.kernel.status else b"\x1a" * len(kind.results) + emit.i32(0))
        return b"".join(emit.get(i) for i in range(4)) + self._function(self.entry, I32 * 4, I32)

    def _argument(self, place: int) -> bytes:
        """The number at `place` among the arguments, in the adapter's memory."""
        return emit.i32(ARGUMENTS_AT + 4 * place) + bytes([emit.LOAD["i32"][0], 2 | _WITH_MEMORY, self._own, 0])

    def _kernel_argument(self, position: int) -> bytes:
        assert self.kernel is not None
        kind, value = self.kernel.arguments[position]
        valtype = self.kernel.type.params[position]
        if kind == "constant":
            return emit.constant(valtype, value)
        tensors = self.kernel.pointers + self.kernel.returned
        if kind == "pointer":
            return self._argument(1 + 2 * int(value))
        place = 0 if int(value) == self.kernel.dimensions else 1 + 2 * tensors + int(value)
        return self._argument(place) + (b"\xad" if valtype == "i64" else b"")  # i64.extend_i32_u

    def _memory_bodies(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...], bytes]]:
        own, state, nothing = self._own, self._state, not self.has_state
        return {
            "pages": ((), I32, bytes([_MEMORY_SIZE, 0])),
            "grow": (I32, I32, emit.get(0) + bytes([_MEMORY_GROW, 0])),
            "put": (I32 * 3, (), _copy(0, own)),
            "get": (I32 * 3, (), _copy(own, 0)),
            "move": (I32 * 3, (), _copy(0, 0)),
            "zero": (I32 * 2, (), _fill(0)),
            "state_pages": ((), I32, emit.i32(0) if nothing else bytes([_MEMORY_SIZE, state])),
            "state_put": (I32 * 3, (), b"" if nothing else _copy(state, own)),
            "state_get": (I32 * 3, (), b"" if nothing else _copy(own, state)),
            "state_zero": (I32 * 2, (), b"" if nothing else _fill(state)),
        }

    @staticmethod
    def _global_bodies(count: int) -> dict[str, tuple[tuple[str, ...], tuple[str, ...], bytes]]:
        """The guest's globals are imported, and copied to as many of the bridge's own behind them."""

        def copies(source: int, target: int) -> bytes:
            pairs = ((source + i, target + i) for i in range(count))
            return b"".join(
                bytes([_GET_GLOBAL]) + emit.unsigned(a) + bytes([_SET_GLOBAL]) + emit.unsigned(b) for a, b in pairs
            )

        return {"save_globals": ((), (), copies(0, count)), "load_globals": ((), (), copies(count, 0))}

    @staticmethod
    def _data(memory: int, at: int, content: bytes) -> bytes:
        return b"\x02" + emit.unsigned(memory) + emit.i32(at) + _END + emit.unsigned(len(content)) + content


def _copy(target: int, source: int) -> bytes:
    return emit.get(0) + emit.get(1) + emit.get(2) + bytes([0xFC, _COPY, target, source])


def _fill(memory: int) -> bytes:
    return emit.get(0) + emit.i32(0) + emit.get(1) + bytes([0xFC, _FILL, memory])
