"""The allocator for tensors, and the message for a module without one."""

from __future__ import annotations

import pytest

from portalis.backend.plan.buffers import Allocator, choose_allocator, declared_maximum_bytes, missing_allocator
from portalis.backend.wasm.binary import ModuleInfo, read_module
from tests.backend import guests

MEMORY = '(memory (export "memory") 1)'
PORTALIS = '(func (export "portalis_alloc") (param i32 i32) (result i32) (i32.const 0))'
CABI = '(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))'
MALLOC = '(func (export "malloc") (param i32) (result i32) (i32.const 0))'
FREE = '(func (export "free") (param i32))'
NEW = '(func (export "__new") (param i32 i32) (result i32) (i32.const 0))'
PINS = '(func (export "__pin") (param i32) (result i32) (i32.const 0)) (func (export "__unpin") (param i32))'
GROWS = '(func (export "grow") (drop (memory.grow (i32.const 1))))'


def module(*parts: str) -> ModuleInfo:
    return read_module(guests.wasm(f"(module {' '.join(parts)})"), "m.wasm")


# -- the choice --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "chosen"),
    [
        ((PORTALIS, CABI, MALLOC, FREE, NEW, PINS, GROWS), Allocator.PORTALIS),
        ((NEW, PINS, MALLOC, FREE, CABI, GROWS), Allocator.CABI),
        ((NEW, PINS, FREE, MALLOC, GROWS), Allocator.MALLOC),
        ((NEW, PINS, MALLOC, GROWS), Allocator.ASSEMBLYSCRIPT),
        ((NEW, PINS, GROWS), Allocator.ASSEMBLYSCRIPT),
        ((), Allocator.PAGES),
        ((MALLOC,), Allocator.PAGES),
        ((NEW,), Allocator.PAGES),
        (('(func (export "portalis_alloc") (param i32) (result i32) (i32.const 0))',), Allocator.PAGES),
        (('(func (export "malloc") (param i64) (result i32) (i32.const 0))', FREE), Allocator.PAGES),
        (('(global (export "cabi_realloc") i32 (i32.const 0))',), Allocator.PAGES),
    ],
)
def test_the_best_allocator_of_the_right_type_is_chosen(parts: tuple[str, ...], chosen: Allocator) -> None:
    info = module(MEMORY, *parts)
    assert choose_allocator(info) is chosen and missing_allocator(info) is None


def why(info: ModuleInfo) -> str:
    found = missing_allocator(info)
    assert found is not None and choose_allocator(info) is None
    return ": ".join(found)


@pytest.mark.parametrize("parts", [(), ('(memory (export "mem") 1)',), ('(func (export "memory"))',)])
def test_a_module_without_an_exported_memory_is_advised_to_export_it(parts: tuple[str, ...]) -> None:
    assert why(module(*parts, PORTALIS)) == (
        "takes pointers, but exports no memory named 'memory' for the tensors: export it (wasm-ld does by default)"
    )


@pytest.mark.parametrize("parts", [(), (MALLOC,), (NEW,)])
def test_a_module_that_grows_its_memory_is_advised_to_export_an_allocator(parts: tuple[str, ...]) -> None:
    assert why(module(MEMORY, GROWS, *parts)) == (
        "takes pointers and grows its memory itself, so the host cannot determine which part is free: export an"
        " allocator (portalis_alloc, cabi_realloc, malloc with free, or AssemblyScript's __new, __pin, __unpin)"
    )


def test_an_allocator_with_an_unknown_name_is_suggested() -> None:
    bindgen = '(func (export "__wbindgen_malloc") (param i32 i32) (result i32) (i32.const 8))'
    message = why(module(MEMORY, GROWS, bindgen))
    assert "'__wbindgen_malloc' has the type of portalis_alloc: if it allocates, export" in message
    for other in (
        '(func (export "alloc") (param i32))',
        '(func (export "add") (param i32 i32) (result i32) (i32.const 8))',
    ):
        assert "has the type of" not in why(module(MEMORY, GROWS, other))


@pytest.mark.parametrize(("declared", "most"), [("1", None), ("1 20", 20 * 65536), ("0 0", 0), ("1 65536", 1 << 32)])
def test_the_maximum_of_a_memory_is_read_in_bytes(declared: str, most: int | None) -> None:
    assert declared_maximum_bytes(module(f'(memory (export "memory") {declared})')) == most
    assert declared_maximum_bytes(module(f"(memory {declared})")) is None
