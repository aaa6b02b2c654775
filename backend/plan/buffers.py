"""Which allocator of a guest gives room for tensors, or pages grown behind what it uses."""

from __future__ import annotations

from enum import Enum

from ..constants import PAGE
from ..wasm.binary import FuncType, MemoryType, ModuleInfo


class Allocator(str, Enum):
    """The ways to get memory from a guest, best first."""

    PORTALIS = "portalis_alloc"
    CABI = "cabi_realloc"
    MALLOC = "malloc"
    ASSEMBLYSCRIPT = "__new"
    PAGES = "pages"


def i32_function(parameters: int, results: int = 0) -> FuncType:
    """The type of a function of i32."""
    return FuncType(("i32",) * parameters, ("i32",) * results)


ALLOCATOR_EXPORTS = {
    Allocator.PORTALIS: {"portalis_alloc": i32_function(2, 1)},
    Allocator.CABI: {"cabi_realloc": i32_function(4, 1)},
    Allocator.MALLOC: {"malloc": i32_function(1, 1), "free": i32_function(1)},
    Allocator.ASSEMBLYSCRIPT: {"__new": i32_function(2, 1), "__pin": i32_function(1, 1), "__unpin": i32_function(1)},
}
"""What a module exports for each allocator, best first."""


def choose_allocator(info: ModuleInfo) -> Allocator | None:
    """The allocator of a module whose kernel takes pointers; None where there is no room for tensors."""
    if not _has_memory(info):
        return None
    for allocator, functions in ALLOCATOR_EXPORTS.items():
        if all(_exports(info, name, kind) for name, kind in functions.items()):
            return allocator
    return None if info.grows_memory() else Allocator.PAGES


def missing_allocator(info: ModuleInfo) -> tuple[str, str] | None:
    """Why there is no room for tensors in a module whose kernel takes pointers, without the subject, and what to do;
    None where there is."""
    if choose_allocator(info) is not None:
        return None
    if not _has_memory(info):
        return (
            "takes pointers, but exports no memory called 'memory' to put tensors in",
            "export it (wasm-ld does by default)",
        )
    allocators = "portalis_alloc, cabi_realloc, malloc with free, or AssemblyScript's __new, __pin, __unpin"
    alike = (e.name for e in info.exports if "alloc" in e.name and e.type == i32_function(2, 1))
    near = next((name for name in alike if name.isprintable()), None)
    if near is not None:
        allocators += f"; '{near[:100]}' has the type of portalis_alloc: if it allocates, export it by that name, too"
    return (
        "takes pointers and grows its memory by itself, so the host cannot tell which part is free",
        f"export an allocator ({allocators})",
    )


def _has_memory(info: ModuleInfo) -> bool:
    memory = info.export("memory")
    return memory is not None and memory.kind == "memory"


def _exports(info: ModuleInfo, name: str, kind: FuncType) -> bool:
    # The type counts: raw calls with another one would read and write outside of their argument block.
    export = info.export(name)
    return export is not None and export.kind == "func" and export.type == kind


def declared_maximum_bytes(info: ModuleInfo) -> int | None:
    """The maximum that a module declares for the memory of its tensors, in bytes."""
    memory = info.export("memory")
    pages = memory.type.maximum if memory is not None and isinstance(memory.type, MemoryType) else None
    return None if pages is None else pages * PAGE
