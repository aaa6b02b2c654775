"""Where tensors live in a guest's linear memory: in its own allocator, or in pages grown behind what it uses.

One block per call holds everything, so that a call costs one allocation at most, and a kept instance reuses its block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from ..bounds import PAGE
from ..errors import AbiViolation, MemoryLimit, ModuleError
from ..terms import TRITON, Terms
from ..wasm.binary import FuncType, MemoryType, ModuleInfo

if TYPE_CHECKING:
    from ..executor.sandbox import Sandbox

ALIGN = 64
_SPARE_BYTES = 16 << 20  # more than allocators ask for beyond what they are asked for
_I32 = "i32"


class Allocator(str, Enum):
    """The ways to get memory from a guest, best first."""

    PORTALIS = "portalis_alloc"
    CABI = "cabi_realloc"
    MALLOC = "malloc"
    ASSEMBLYSCRIPT = "__new"
    PAGES = "pages"


_TYPES = {
    Allocator.PORTALIS: FuncType((_I32, _I32), (_I32,)),
    Allocator.CABI: FuncType((_I32,) * 4, (_I32,)),
    Allocator.MALLOC: FuncType((_I32,), (_I32,)),
    Allocator.ASSEMBLYSCRIPT: FuncType((_I32, _I32), (_I32,)),
}
_NEEDED_TOO = {
    Allocator.MALLOC: {"free": FuncType((_I32,), ())},
    Allocator.ASSEMBLYSCRIPT: {"__pin": FuncType((_I32,), (_I32,)), "__unpin": FuncType((_I32,), ())},
}


def choose_allocator(info: ModuleInfo) -> Allocator:
    """The allocator of a module whose kernel takes pointers. Raises ModuleError saying what to export."""
    found = _allocator(info)
    if found is None:
        raise ModuleError(f"{info.name} {': '.join(why_no_allocator(info) or ())}")
    return found


def why_no_allocator(info: ModuleInfo) -> tuple[str, str] | None:
    """Why there is no room for tensors in a module whose kernel takes pointers, without the subject, and what to do;
    None where there is."""
    if _allocator(info) is not None:
        return None
    if not _has_memory(info):
        return (
            "takes pointers, but exports no memory called 'memory' to put tensors in",
            "export it (wasm-ld does by default)",
        )
    allocators = "portalis_alloc, cabi_realloc, malloc with free, or AssemblyScript's __new, __pin, __unpin"
    alike = (e.name for e in info.exports if "alloc" in e.name and e.type == _TYPES[Allocator.PORTALIS])
    near = next((name for name in alike if name.isprintable()), None)
    if near is not None:
        allocators += f"; '{near[:100]}' has the type of portalis_alloc: if it allocates, export it by that name, too"
    return (
        "takes pointers and grows its memory by itself, so the host cannot tell which part is free",
        f"export an allocator ({allocators})",
    )


def _allocator(info: ModuleInfo) -> Allocator | None:
    if not _has_memory(info):
        return None
    for allocator, wanted in _TYPES.items():
        functions = {allocator.value: wanted, **_NEEDED_TOO.get(allocator, {})}
        if all(_exports(info, name, kind) for name, kind in functions.items()):
            return allocator
    return None if info.grows_memory() else Allocator.PAGES


def _has_memory(info: ModuleInfo) -> bool:
    memory = info.export("memory")
    return memory is not None and memory.kind == "memory"


def _exports(info: ModuleInfo, name: str, kind: FuncType) -> bool:
    # The type counts: raw calls with another one would read and write outside of their argument block.
    export = info.export(name)
    return export is not None and export.kind == "func" and export.type == kind


class Block:
    """The block of one sandbox.

    It holds no reference to the sandbox: a cycle would keep dead ones until the collector runs.
    """

    __slots__ = ("_allocator", "_maximum", "_raw", "_terms", "capacity", "pointer")

    def __init__(self, allocator: Allocator, maximum: int | None = None, terms: Terms = TRITON) -> None:
        """`maximum` is the memory's own, in bytes, as the module declares it. Errors name limits as `terms` do."""
        self._allocator = allocator
        self._maximum = maximum
        self._terms = terms
        self._raw = 0
        self.pointer = 0
        self.capacity = 0

    def forget(self) -> None:
        """The guest dropped everything that it had allocated (``portalis_reset``)."""
        if self._allocator is Allocator.PORTALIS:
            self.pointer = self.capacity = self._raw = 0

    def reserve(self, sandbox: Sandbox, size: int) -> int:
        """The address of at least `size` bytes of `sandbox`'s memory, aligned to 64.

        Raises MemoryLimit when there is no room.
        """
        if size <= self.capacity:
            return self.pointer
        if size + ALIGN >= 1 << 32:
            raise MemoryLimit(f"the tensors need {size} bytes, which a 32-bit guest cannot address")
        # A growing block doubles, so that an allocator without `free` leaks no more than it holds.
        size = max(size, min(2 * self.capacity, size + (16 << 20)))
        raw = _ALLOCATE[self._allocator](sandbox, self._raw, self.capacity, size + ALIGN)
        limit = sandbox.memory_size()
        if raw == 0:
            raise MemoryLimit(
                f"the tensors need {size} bytes, which the guest could not allocate: its memory is {limit} bytes, and"
                f" {self._room(sandbox.memory_limit, limit + 2 * size + _SPARE_BYTES)}, or send smaller batches)"
            )
        if raw + size + ALIGN > limit:
            raise AbiViolation(
                f"{self._allocator.value} returned {raw:#x} for {size + ALIGN} bytes, outside the guest's memory of"
                f" {limit}"
            )
        self._raw, self.capacity = raw, size
        self.pointer = -(-raw // ALIGN) * ALIGN
        return self.pointer

    def _room(self, limit: int, enough: int) -> str:
        """How far the memory may grow, and whose limit that is: the guest's allocator's own where that is `enough`."""
        most = limit if self._maximum is None else min(limit, self._maximum)
        if self._allocator is not Allocator.PAGES and most >= enough:
            return (
                f"may grow to {most}, so its own allocator ({self._allocator.value}) gave up (build the module with a"
                " larger heap"
            )
        if self._maximum is not None and self._maximum <= limit:
            return (
                f"the module's own maximum is {self._maximum} bytes (build it with a larger one: clang"
                " -Wl,--max-memory=, Emscripten: -sMAXIMUM_MEMORY=, asc --maximumMemory"
            )
        return f"may grow to {limit} ({self._terms.raising('max_memory_bytes')}"


def own_maximum(info: ModuleInfo) -> int | None:
    """The maximum that a module declares for the memory of its tensors, in bytes."""
    memory = info.export("memory")
    pages = memory.type.maximum if memory is not None and isinstance(memory.type, MemoryType) else None
    return None if pages is None else pages * PAGE


def _portalis(sandbox: Sandbox, old: int, old_size: int, size: int) -> int:
    return sandbox.call_u32(b"portalis_alloc", size, ALIGN)


def _cabi(sandbox: Sandbox, old: int, old_size: int, size: int) -> int:
    return sandbox.call_u32(b"cabi_realloc", old, old_size + ALIGN if old else 0, ALIGN, size)


def _malloc(sandbox: Sandbox, old: int, old_size: int, size: int) -> int:
    if old:
        sandbox.call_u32(b"free", old)
    return sandbox.call_u32(b"malloc", size)


def _assemblyscript(sandbox: Sandbox, old: int, old_size: int, size: int) -> int:
    if old:
        sandbox.call_u32(b"__unpin", old)
    array_buffer = 1  # AssemblyScript's id of ArrayBuffer, which its garbage collector does not look into
    return sandbox.call_u32(b"__pin", sandbox.call_u32(b"__new", size, array_buffer))


def _pages(sandbox: Sandbox, old: int, old_size: int, size: int) -> int:
    end = sandbox.memory_size()
    if old:  # the block is the end of memory: only the difference is new
        return old if sandbox.grow(-(-(old + size - end) // PAGE)) else 0
    start = end or ALIGN  # a memory that begins with no page has its first bytes at 0, which means "no room"
    return start if sandbox.grow(-(-(start + size - end) // PAGE)) else 0


_ALLOCATE: dict[Allocator, Callable[[Sandbox, int, int, int], int]] = {
    Allocator.PORTALIS: _portalis,
    Allocator.CABI: _cabi,
    Allocator.MALLOC: _malloc,
    Allocator.ASSEMBLYSCRIPT: _assemblyscript,
    Allocator.PAGES: _pages,
}


def gaps(memory: np.ndarray, written: Sequence[tuple[int, int]], end: int) -> list[np.ndarray]:
    """Views of what lies between the spans `written` (in order), and behind them up to `end`."""
    stops = [stop for _, stop in written]
    starts = [start for start, _ in written[1:]] + [end]
    return [memory[stop:start] for stop, start in zip(stops, starts) if start > stop]
