"""Selects how memory for tensors is allocated in a guest: by its allocator, or by growing its memory."""

from __future__ import annotations

from enum import Enum

from ..constants import PAGE
from ..wasm.binary import FuncType, MemoryType, ModuleInfo


class Allocator(str, Enum):
    """Ways to allocate memory in a guest, preferred first."""

    PORTALIS = "portalis_alloc"
    CABI = "cabi_realloc"
    MALLOC = "malloc"
    ASSEMBLYSCRIPT = "__new"
    PAGES = "pages"


def i32_function(parameters: int, results: int = 0) -> FuncType:
    """A function type with only i32 parameters and results."""
    return FuncType(("i32",) * parameters, ("i32",) * results)


ALLOCATOR_EXPORTS = {
    Allocator.PORTALIS: {"portalis_alloc": i32_function(2, 1)},
    Allocator.CABI: {"cabi_realloc": i32_function(4, 1)},
    Allocator.MALLOC: {"malloc": i32_function(1, 1), "free": i32_function(1)},
    Allocator.ASSEMBLYSCRIPT: {"__new": i32_function(2, 1), "__pin": i32_function(1, 1), "__unpin": i32_function(1)},
}
"""The functions that a module exports for each allocator, preferred first."""


def choose_allocator(info: ModuleInfo) -> Allocator | None:
    """The allocator of a module whose kernel takes pointers; None if tensors cannot be allocated."""
    if not _has_memory(info):
        return None
    for allocator, functions in ALLOCATOR_EXPORTS.items():
        if all(_exports(info, name, kind) for name, kind in functions.items()):
            return allocator
    return None if info.grows_memory() else Allocator.PAGES


def missing_allocator(info: ModuleInfo) -> tuple[str, str] | None:
    """The reason, without its subject, why tensors cannot be allocated in a module whose kernel takes pointers, and the
    remediation; None if they can."""
    if choose_allocator(info) is not None:
        return None
    if not _has_memory(info):
        return (
            "takes pointers, but exports no memory named 'memory' for the tensors",
            "export it (wasm-ld does by default)",
        )
    allocators = "portalis_alloc, cabi_realloc, malloc with free, or AssemblyScript's __new, __pin, __unpin"
    similar = (e.name for e in info.exports if "alloc" in e.name and e.type == i32_function(2, 1))
    candidate = next((name for name in similar if name.isprintable()), None)
    if candidate is not None:
        allocators += (
            f"; '{candidate[:100]}' has the type of portalis_alloc: if it allocates, export it by that name, too"
        )
    return (
        "takes pointers and grows its memory itself, so the host cannot determine which part is free",
        f"export an allocator ({allocators})",
    )


def _has_memory(info: ModuleInfo) -> bool:
    memory = info.export("memory")
    return memory is not None and memory.kind == "memory"


def _exports(info: ModuleInfo, name: str, kind: FuncType) -> bool:
    # The type must match: raw calls of a different type would read and write outside their argument block.
    export = info.export(name)
    return export is not None and export.kind == "func" and export.type == kind


def declared_maximum_bytes(info: ModuleInfo) -> int | None:
    """The maximum that a module declares for its exported memory, in bytes."""
    memory = info.export("memory")
    pages = memory.type.maximum if memory is not None and isinstance(memory.type, MemoryType) else None
    return None if pages is None else pages * PAGE
