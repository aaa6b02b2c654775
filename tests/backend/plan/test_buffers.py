"""Where tensors live in a guest: the choice of allocator, and blocks that grow without leaking or leaving memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portalis.backend import AbiViolation, Limits, MemoryLimit, ModuleError, Program
from portalis.backend.executor.sandbox import Deadline, Sandbox
from portalis.backend.facts import PAGE
from portalis.backend.plan.buffers import ALIGN, Allocator, Block, choose_allocator
from portalis.backend.wasm.binary import ModuleInfo, read_module
from tests.backend import guests
from tests.backend.guests import tensor

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
    assert choose_allocator(module(MEMORY, *parts)) is chosen


@pytest.mark.parametrize("parts", [(), ('(memory (export "mem") 1)',), ('(func (export "memory"))',)])
def test_a_module_without_an_exported_memory_is_told_to_export_it(parts: tuple[str, ...]) -> None:
    with pytest.raises(ModuleError) as caught:
        choose_allocator(module(*parts, PORTALIS))
    assert str(caught.value) == (
        "m.wasm takes pointers, but exports no memory called 'memory' to put tensors in: export it (wasm-ld does by default)"
    )


@pytest.mark.parametrize("parts", [(), (MALLOC,), (NEW,)])
def test_a_module_that_grows_its_memory_is_told_to_export_an_allocator(parts: tuple[str, ...]) -> None:
    with pytest.raises(ModuleError) as caught:
        choose_allocator(module(MEMORY, GROWS, *parts))
    assert str(caught.value) == (
        "m.wasm takes pointers and grows its memory by itself, so the host cannot tell which part is free: export an"
        " allocator (portalis_alloc, cabi_realloc, malloc with free, or AssemblyScript's __new, __pin, __unpin)"
    )


def test_an_allocator_of_another_name_is_pointed_at() -> None:
    bindgen = '(func (export "__wbindgen_malloc") (param i32 i32) (result i32) (i32.const 8))'
    with pytest.raises(
        ModuleError, match="'__wbindgen_malloc' has the type of portalis_alloc: if it allocates, export"
    ):
        choose_allocator(module(MEMORY, GROWS, bindgen))
    for other in (
        '(func (export "alloc") (param i32))',
        '(func (export "add") (param i32 i32) (result i32) (i32.const 8))',
    ):
        with pytest.raises(ModuleError) as caught:
            choose_allocator(module(MEMORY, GROWS, other))
        assert "has the type of" not in str(caught.value)


# -- blocks ------------------------------------------------------------------------------------------------------------


class Guest:
    """Stands for a sandbox: notes what its allocator is asked for, and answers with `addresses` in turn."""

    def __init__(self, *addresses: int, size: int = 1 << 30) -> None:
        self.addresses = list(addresses)
        self.size = size
        self.memory_limit = 1 << 31
        self.asked: list[tuple[str, tuple[int, ...]]] = []

    def call_u32(self, name: bytes, *args: int) -> int:
        self.asked.append((name.decode(), args))
        return 0 if name in (b"free", b"__unpin") else args[0] if name == b"__pin" else self.addresses.pop(0)

    def memory_size(self) -> int:
        return self.size

    def grow(self, pages: int) -> bool:
        self.asked.append(("grow", (pages,)))
        if self.size + pages * PAGE > self.memory_limit:
            return False
        self.size += pages * PAGE
        return True

    @property
    def box(self) -> Sandbox:
        return cast("Sandbox", self)


def test_a_block_is_reused_while_it_is_large_enough() -> None:
    guest, block = Guest(1001), Block(Allocator.PORTALIS)
    assert block.reserve(guest.box, 100) == 1024
    assert (block.pointer, block.capacity) == (1024, 100)
    assert [block.reserve(guest.box, size) for size in (100, 1, 0)] == [1024] * 3
    assert guest.asked == [("portalis_alloc", (100 + ALIGN, ALIGN))]


def test_a_growing_block_doubles_up_to_16_mib_more() -> None:
    guest, block, asked = Guest(64, 64, 64, 64), Block(Allocator.PORTALIS), []
    for size in (1000, 1001, 20 << 20, (20 << 20) + 1):
        block.reserve(guest.box, size)
        asked.append(block.capacity)
    assert asked == [1000, 2000, 20 << 20, (36 << 20) + 1]


@pytest.mark.parametrize(
    ("allocator", "asked"),
    [
        (Allocator.PORTALIS, [("portalis_alloc", (164, 64)), ("portalis_alloc", (364, 64))]),
        (Allocator.CABI, [("cabi_realloc", (0, 0, 64, 164)), ("cabi_realloc", (640, 164, 64, 364))]),
        (Allocator.MALLOC, [("malloc", (164,)), ("free", (640,)), ("malloc", (364,))]),
        (
            Allocator.ASSEMBLYSCRIPT,
            [("__new", (164, 1)), ("__pin", (640,)), ("__unpin", (640,)), ("__new", (364, 1)), ("__pin", (1280,))],
        ),
    ],
)
def test_an_allocator_is_asked_in_its_own_way(allocator: Allocator, asked: list[tuple[str, tuple[int, ...]]]) -> None:
    guest, block = Guest(640, 1280), Block(allocator)
    assert [block.reserve(guest.box, size) for size in (100, 300)] == [640, 1280]
    assert guest.asked == asked


def test_pages_are_grown_behind_the_memory_and_then_only_by_the_difference() -> None:
    guest, block = Guest(size=3 * PAGE), Block(Allocator.PAGES)
    assert block.reserve(guest.box, 100) == 3 * PAGE
    assert block.reserve(guest.box, PAGE - ALIGN) == 3 * PAGE
    assert block.reserve(guest.box, PAGE) == 3 * PAGE
    assert guest.asked == [("grow", (1,)), ("grow", (0,)), ("grow", (1,))]
    assert block.capacity == 2 * (PAGE - ALIGN)


def test_a_guests_own_reset_forgets_only_its_own_blocks() -> None:
    for allocator in (Allocator.PORTALIS, Allocator.CABI):
        guest, block = Guest(64, 128), Block(allocator)
        block.reserve(guest.box, 10)
        block.forget()
        forgotten = allocator is Allocator.PORTALIS
        assert (block.pointer, block.capacity) == ((0, 0) if forgotten else (64, 10))
        assert block.reserve(guest.box, 10) == (128 if forgotten else 64)


def test_a_guest_without_room_is_a_memory_limit_that_says_what_to_raise() -> None:
    guest, block = Guest(0, size=4096), Block(Allocator.MALLOC)
    with pytest.raises(MemoryLimit) as caught:
        block.reserve(guest.box, 1 << 30)
    assert str(caught.value) == (
        "the tensors need 1073741824 bytes, which the guest could not allocate: its memory is 4096 bytes, and may grow"
        " to 2147483648 (raise wasm.max_memory_bytes, or send smaller batches)"
    )
    full = Guest(size=1 << 31)
    for block in (Block(Allocator.PAGES), grown(full)):
        with pytest.raises(MemoryLimit, match=r"^the tensors need \d+ bytes, which the guest could not allocate"):
            block.reserve(full.box, 1 << 20)


@pytest.mark.parametrize("maximum", [None, 1 << 30])
@pytest.mark.parametrize("allocator", [each for each in Allocator if each is not Allocator.PAGES])
def test_an_allocator_that_gives_up_with_room_to_spare_is_not_helped_by_a_limit(
    allocator: Allocator, maximum: int | None
) -> None:
    guest, block = Guest(0, 0, size=4096), Block(allocator, maximum)
    with pytest.raises(MemoryLimit) as caught:
        block.reserve(guest.box, 5000)
    assert f"its own allocator ({allocator.value}) gave up (build the module with a larger heap" in str(caught.value)
    assert "raise" not in str(caught.value) and "own maximum" not in str(caught.value)


def grown(guest: Guest) -> Block:
    """A block of pages at the end of the memory, which is full with it."""
    block = Block(Allocator.PAGES)
    guest.size -= PAGE
    block.reserve(guest.box, 100)
    return block


@pytest.mark.parametrize(
    ("address", "size", "inside"),
    [(1 << 20, 64, False), (65536 - 164, 100, True), (65536 - 163, 100, False), (0xFFFFFFF0, 100, False)],
)
def test_a_block_outside_the_memory_is_caught(address: int, size: int, inside: bool) -> None:
    guest, block = Guest(address, size=65536), Block(Allocator.CABI)
    if inside:
        pointer = block.reserve(guest.box, size)
        assert pointer % ALIGN == 0 and pointer + size <= 65536
        return
    with pytest.raises(AbiViolation) as caught:
        block.reserve(guest.box, size)
    assert str(caught.value) == (
        f"cabi_realloc returned {address:#x} for {size + ALIGN} bytes, outside the guest's memory of 65536"
    )


def test_tensors_beyond_32_bits_are_refused_before_the_guest_is_asked() -> None:
    guest, block = Guest(), Block(Allocator.PORTALIS)
    with pytest.raises(MemoryLimit) as caught:
        block.reserve(guest.box, (1 << 32) - ALIGN)
    assert str(caught.value) == "the tensors need 4294967232 bytes, which a 32-bit guest cannot address"
    assert guest.asked == []


@given(
    addresses=st.lists(st.integers(1, 1 << 20), min_size=12, max_size=12),
    sizes=st.lists(st.integers(0, 1 << 18), min_size=1, max_size=12),
)
def test_every_block_is_aligned_and_inside_what_the_guest_gave(addresses: list[int], sizes: list[int]) -> None:
    guest, block = Guest(*addresses), Block(Allocator.CABI)
    for size in sizes:
        pointer = block.reserve(guest.box, size)
        assert pointer % ALIGN == 0 and block.capacity >= size
        if guest.asked:
            given_ = addresses[len(guest.asked) - 1]
            assert given_ <= pointer and pointer + block.capacity <= given_ + guest.asked[-1][1][3]


# -- real guests -------------------------------------------------------------------------------------------------------

# Bump allocators that count what is alive: `alive` is the number of blocks that were allocated and not freed.
BUMP = """(global $top (mut i32) (i32.const 1030)) (global $alive (export "alive") (mut i32) (i32.const 0))
  (func $bump (param $size i32) (result i32) (local $p i32)
    (local.set $p (global.get $top)) (global.set $top (i32.add (global.get $top) (local.get $size)))
    (if (i32.gt_u (global.get $top) (i32.mul (memory.size) (i32.const 65536)))
      (then (if (i32.eq (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $size) (i32.const 16)))))
        (then (return (i32.const 0))))))
    (global.set $alive (i32.add (global.get $alive) (i32.const 1))) (local.get $p))
  (func $drop (param i32) (global.set $alive (i32.sub (global.get $alive) (i32.const 1))))"""
REAL = {
    Allocator.PAGES: "",
    Allocator.MALLOC: BUMP + '(export "malloc" (func $bump)) (export "free" (func $drop))',
    Allocator.ASSEMBLYSCRIPT: BUMP
    + '(export "__unpin" (func $drop)) (func (export "__pin") (param i32) (result i32) (local.get 0))'
    + '(func (export "__new") (param i32 i32) (result i32) (if (i32.ne (local.get 1) (i32.const 1)) (then unreachable))'
    + " (call $bump (local.get 0)))",
    Allocator.CABI: BUMP
    + '(func (export "cabi_realloc") (param $old i32) (param $was i32) (param i32 i32) (result i32)'
    + " (if (local.get $old) (then (call $drop (local.get $old)))) (call $bump (local.get 3)))",
}
GUFUNC = {
    "entry": "double",
    "convention": "gufunc",
    "signature": "(n)->(n)",
    "inputs": [tensor("x")],
    "outputs": [tensor("y")],
}


@contextmanager
def doubling(allocator: Allocator, limit: int = 256 << 20) -> Iterator[Program]:
    text = guests.DOUBLE[:-1] + REAL[allocator] + ")"
    limits = Limits(max_memory_bytes=limit)
    with Program.load(guests.wasm(text, GUFUNC), isolation="instance", limits=limits) as program:
        assert choose_allocator(program.info) is allocator
        yield program


@settings(deadline=None, max_examples=10)
@given(allocator=st.sampled_from(list(REAL)), sizes=st.lists(st.integers(0, 60_000), min_size=1, max_size=6))
def test_tensors_of_any_size_after_any_other_are_right(allocator: Allocator, sizes: list[int]) -> None:
    with doubling(allocator) as program:
        for size in sizes:
            x = np.arange(size, dtype=np.float32)
            np.testing.assert_array_equal(program.run({"x": x})["y"], x * 2)
        assert program.stats.instances == any(sizes)


@pytest.mark.parametrize("allocator", [Allocator.MALLOC, Allocator.ASSEMBLYSCRIPT, Allocator.CABI])
def test_one_block_is_alive_however_often_it_grew(allocator: Allocator) -> None:
    with doubling(allocator) as program:
        for size in (10, 1000, 50_000, 20):
            program.run({"x": np.ones(size, np.float32)})
        sandboxes = program._sandboxes
        assert sandboxes is not None
        with sandboxes.sandbox(Deadline(10.0)) as box:
            alive = box.export(b"alive")
            assert alive is not None and box.store.global_value(alive).of.i32 == 1
            assert box.block is not None and box.block.pointer % ALIGN == 0


@pytest.mark.parametrize("allocator", list(REAL))
def test_too_large_a_tensor_is_refused_and_the_next_one_served(allocator: Allocator) -> None:
    with doubling(allocator, 1 << 20) as program:
        for size in (10, 20_000):
            program.run({"x": np.ones(size, np.float32)})
        with pytest.raises(
            MemoryLimit, match=r"^entry 'double': the tensors need \d+ bytes, .* may grow to 1048576 \("
        ):
            program.run({"x": np.ones(1 << 20, np.float32)})
        assert program.run({"x": np.ones(3, np.float32)})["y"].tolist() == [2, 2, 2]


def test_a_block_of_pages_never_moves() -> None:
    with doubling(Allocator.PAGES) as program, contextlib.ExitStack() as stack:
        assert program._sandboxes is not None
        box = stack.enter_context(program._sandboxes.sandbox(Deadline(10.0)))
        places = [box.reserve(size) for size in (1, PAGE - ALIGN, PAGE, 10 * PAGE)]
        assert places == [PAGE] * 4
        assert box.block is not None and box.memory_size() >= PAGE + box.block.capacity


# -- whose limit it is -------------------------------------------------------------------------------------------------


KERNEL = '(func (export "k") (param i32 i32 i32))'
MANY = {"x": np.zeros(200_000, np.float32)}


def outgrown(memory: str, **limits: int) -> str:
    """What is said where the tensors of a kernel find no room in a memory of this type."""
    declared = {"convention": "gufunc", "signature": "(n)->(n)", "entry": "k"}
    tensors = {"inputs": [guests.tensor("x")], "outputs": [guests.tensor("y")]}
    text = f'(module (memory (export "memory") {memory}) {KERNEL})'
    limit = Limits(**limits)
    with Program.load(guests.wasm(text), interface={**declared, **tensors}, limits=limit, cache=None) as program:
        with pytest.raises(MemoryLimit) as caught:
            program.run(MANY)
        assert program.run({"x": np.ones(3, np.float32)})["y"].tolist() == [0, 0, 0]
    return str(caught.value)


@pytest.mark.parametrize("memory", ["1 2", "0 1", "1 20"])
def test_where_the_modules_own_maximum_is_met_it_says_so(memory: str) -> None:
    told, most = outgrown(memory), int(memory.split()[1]) * PAGE
    assert f"the module's own maximum is {most} bytes (build it with a larger one: clang -Wl,--max-memory=" in told
    assert "send smaller batches" in told
    assert "max_memory_bytes" not in told


@pytest.mark.parametrize("memory", ["1", "1 65536", "1 40"])
def test_where_the_hosts_limit_is_met_it_says_so(memory: str) -> None:
    told = outgrown(memory, max_memory_bytes=1 << 20)
    assert "may grow to 1048576 (raise Limits.max_memory_bytes, or send smaller batches)" in told
    assert "own maximum" not in told
