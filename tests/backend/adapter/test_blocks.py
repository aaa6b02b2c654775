"""Blocks for tensors in a guest: they come from its allocator, grow without leaking, and never leave its memory,
whatever the allocator returns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portalis.backend import AbiViolation, GuestTimeout, Limits, MemoryLimit, Program, Trap
from portalis.backend.constants import PAGE
from portalis.backend.plan.buffers import Allocator, choose_allocator
from tests.backend import guests
from tests.backend.adapter.noting import ALIGN, KERNEL, WORDS, inputs, noting, see, size_of
from tests.backend.guests import tensor

pytestmark = pytest.mark.usefixtures("executor")
F32 = np.float32


def the_process_serves_on() -> None:
    with Program.load(guests.echo()) as program:
        assert program.run({"x": np.ones(2, F32)})["y"].tolist() == [1, 1]


# -- honest ones -------------------------------------------------------------------------------------------------------


def test_a_block_is_reused_while_it_is_large_enough() -> None:
    with noting(Allocator.PORTALIS, [65537, 1]) as program:
        for elements in (300, 300, 1, 0):
            seen = see(program, elements)
            assert seen.x == 65600
            assert seen.asked == [("portalis_alloc", (size_of(300) + ALIGN, ALIGN))]


def test_a_growing_block_doubles_up_to_16_mib_more() -> None:
    small, large = 1000, 5 << 20
    limits = Limits(max_tensor_bytes=1 << 30)
    with noting(Allocator.PORTALIS, [65536] * 4, memory="1000", limits=limits) as program:
        for elements in (small, small + 16, large, large + 16):
            seen = see(program, elements)
    asked = [arguments[0] - ALIGN for _, arguments in seen.asked]
    assert asked == [size_of(small), 2 * size_of(small), size_of(large), size_of(large + 16) + (16 << 20)]


FEW, MANY = size_of(16) + ALIGN, size_of(600) + ALIGN


@pytest.mark.parametrize(
    ("allocator", "asked"),
    [
        (Allocator.PORTALIS, [("portalis_alloc", (FEW, 64)), ("portalis_alloc", (MANY, 64))]),
        (Allocator.CABI, [("cabi_realloc", (0, 0, 64, FEW)), ("cabi_realloc", (65600, FEW, 64, MANY))]),
        (Allocator.MALLOC, [("malloc", (FEW,)), ("free", (65600,)), ("malloc", (MANY,))]),
        (
            Allocator.ASSEMBLYSCRIPT,
            [
                ("__new", (FEW, 1)),
                ("__pin", (65600,)),
                ("__unpin", (65600,)),
                ("__new", (MANY, 1)),
                ("__pin", (66600,)),
            ],
        ),
    ],
)
def test_each_kind_of_allocator_is_called_with_its_own_arguments(
    allocator: Allocator, asked: list[tuple[str, tuple[int, ...]]]
) -> None:
    with noting(allocator, [65600, 66600]) as program:
        assert see(program, 16).x == 65600
        seen = see(program, 600)
        assert (seen.x, seen.asked) == (66624, asked)  # aligned


def test_pages_are_grown_after_the_memory_and_then_only_by_the_difference() -> None:
    one_page = (PAGE - ALIGN - 2 * 4 * WORDS) // 4
    with noting(Allocator.PAGES, memory="3") as program:
        seen = [see(program, elements) for elements in (16, one_page, one_page + 16, 20 * PAGE // 4)]
    assert [each.x for each in seen] == [3 * PAGE] * 4  # a block of pages never moves
    assert [each.pages for each in seen] == [4, 4, 5, 24]  # the third time the block doubles: a page, no more


def test_a_memory_without_pages_has_its_block_after_address_0() -> None:
    """Address 0 means that the allocation failed."""
    declared = {**KERNEL, "entry": "double", "signature": "(n)->(n)", "inputs": [tensor("x")], "outputs": [tensor("y")]}
    text = guests.DOUBLE.replace('(memory (export "memory") 1)', '(memory (export "memory") 0)')
    with Program.load(guests.wasm(text, declared)) as program:
        for size in (3, 50_000, 7):
            x = np.arange(size, dtype=F32)
            np.testing.assert_array_equal(program.run({"x": x})["y"], x * 2)


@pytest.mark.parametrize("resets", [True, False])
def test_a_guests_own_reset_frees_its_block_and_without_one_it_is_kept(resets: bool) -> None:
    reset = '(func (export "portalis_reset") (global.set $resets (i32.add (global.get $resets) (i32.const 1))))'
    text = f"""(module (memory (export "memory") 2) (global $resets (mut i32) (i32.const 0))
      (global $asked (mut i32) (i32.const 0)) (func (export "portalis_abi_v1"))
      (func (export "portalis_alloc") (param i32 i32) (result i32)
        (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
        (i32.add (i32.const 1024) (i32.mul (global.get $asked) (i32.const 4096))))
      {reset if resets else ""}
      (func (export "portalis_infer") (param $in i32) (param $nin i32) (param $out i32) (param $nout i32) (result i32)
        (local $y i32) (local.set $y (i32.load (local.get $out)))
        (i32.store (local.get $y) (global.get $asked)) (i32.store offset=4 (local.get $y) (global.get $resets))
        (i32.store offset=8 (local.get $y) (local.get $y)) (i32.const 0)))"""
    entry = {"entry": "portalis_infer", "convention": "dlpack", "inputs": [tensor("x")]}
    with Program.load(
        guests.wasm(text, {**entry, "outputs": [tensor("y", "INT32", (3,))]}), isolation="instance"
    ) as program:
        seen = [program.run({"x": np.zeros(n, F32)})["y"].tolist() for n in (3, 3, 1)]
    assert [(asked, count) for asked, count, _ in seen] == ([(1, 0), (2, 1), (3, 2)] if resets else [(1, 0)] * 3)
    assert len({place for *_, place in seen}) == (3 if resets else 1)


@settings(max_examples=30)
@given(sizes=st.lists(st.integers(0, 1 << 16), min_size=1, max_size=10))
def test_every_block_is_aligned_and_inside_the_allocated_memory(sizes: list[int]) -> None:
    with noting(Allocator.CABI, memory="64") as program:
        for elements in sizes:
            seen = see(program, elements)
            assert [place % ALIGN for place in (seen.x, seen.l, seen.y)] == [0, 0, 0]
            room = seen.asked[-1][1][3]
            assert seen.last <= seen.x and seen.y + 4 * WORDS <= seen.last + room
            assert seen.x + 4 * elements <= seen.l and seen.l + 4 * WORDS <= seen.y


# -- ones that lie or fail ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "inside"), [(1 << 20, False), (PAGE - FEW, True), (PAGE - FEW + 1, False), (0xFFFFFFF0, False)]
)
@pytest.mark.parametrize("allocator", [each for each in Allocator if each is not Allocator.PAGES])
def test_a_block_outside_the_memory_is_caught(allocator: Allocator, address: int, inside: bool) -> None:
    with noting(allocator, [address] * 2, memory="1") as program:
        if inside:
            seen = see(program, 16)
            assert seen.x % ALIGN == 0 and seen.y + 4 * WORDS <= PAGE
            return
        for _ in range(2):
            with pytest.raises(AbiViolation) as caught:
                program.run(inputs(16))
            assert str(caught.value) == (
                f"entry 'k': {allocator.value} returned {address:#x} for {FEW} bytes, outside the guest's memory of 65536"
            )
    the_process_serves_on()


@pytest.mark.parametrize("allocator", [each for each in Allocator if each is not Allocator.PAGES])
def test_a_second_block_outside_the_memory_is_caught_too(allocator: Allocator) -> None:
    with noting(allocator, [65600, 131000]) as program:
        see(program, 16)
        with pytest.raises(AbiViolation, match=f"{allocator.value} returned 0x1ffb8 for {MANY} bytes, outside"):
            program.run(inputs(600))
        assert see(program, 16).x == 65600  # of a new instance
        assert program.stats.instances == 2


@pytest.mark.parametrize(
    ("code", "error"), [("unreachable", Trap), ("(loop $l (br $l))", GuestTimeout), ("(call $give)", Trap)]
)
@pytest.mark.parametrize("function", ["malloc", "free"])
def test_an_allocator_that_traps_or_never_ends_fails_only_its_call(
    function: str, code: str, error: type[Exception]
) -> None:
    deep = "(func $give (result i32) (call $give))"
    body = code if code != "(call $give)" else "(drop (call $give))"
    malloc = (
        f'(func (export "malloc") (param i32) (result i32) {body if function == "malloc" else ""} (i32.const 65600))'
    )
    free = f'(func (export "free") (param i32) {body if function == "free" else ""})'
    text = guests.DOUBLE.replace('"memory") 1', '"memory") 8')[:-1] + malloc + free + deep + ")"
    with Program.load(guests.wasm(text, DOUBLE), isolation="instance", limits=Limits(timeout_s=0.2)) as program:
        if function == "free":
            assert program.run({"x": np.ones(3, F32)})["y"].tolist() == [2, 2, 2]
        with pytest.raises(error):
            program.run({"x": np.ones(10_000, F32)})
        if function == "free":
            assert program.run({"x": np.ones(3, F32)})["y"].tolist() == [2, 2, 2]
    the_process_serves_on()


def test_a_guest_out_of_memory_is_a_memory_limit_that_names_the_setting_to_raise() -> None:
    with noting(Allocator.MALLOC, [0], limits=Limits(max_memory_bytes=1 << 20)) as program:
        with pytest.raises(MemoryLimit) as caught:
            program.run(inputs(1 << 20))
        assert str(caught.value) == (
            f"entry 'k': the tensors need {size_of(1 << 20)} bytes, which the guest could not allocate: its memory is"
            " 131072 bytes, and may grow to 1048576 (raise Limits.max_memory_bytes, or send smaller batches)"
        )
    the_process_serves_on()


def test_a_block_of_pages_that_does_not_fit_is_a_memory_limit_at_first_and_later() -> None:
    with noting(Allocator.PAGES, limits=Limits(max_memory_bytes=1 << 20)) as program:
        for _ in range(2):
            with pytest.raises(
                MemoryLimit, match=r"^entry 'k': the tensors need \d+ bytes, which the guest could not all"
            ):
                program.run(inputs(1 << 20))
            assert see(program, 100).pages == 3


@pytest.mark.parametrize("maximum", ["", " 16384"])
@pytest.mark.parametrize("allocator", [each for each in Allocator if each is not Allocator.PAGES])
def test_the_error_of_an_allocator_that_fails_below_the_limit_does_not_suggest_to_raise_it(
    allocator: Allocator, maximum: str
) -> None:
    with noting(allocator, [0], memory="1" + maximum) as program, pytest.raises(MemoryLimit) as caught:
        program.run(inputs(1000))
    assert f"its own allocator ({allocator.value}) failed (build the module with a larger heap" in str(caught.value)
    assert "raise" not in str(caught.value) and "own maximum" not in str(caught.value)


@pytest.mark.parametrize(("columns", "size"), [((1 << 32) // 4 - 32, (1 << 32) - 64), (1 << 30, (1 << 32) + 64)])
def test_tensors_beyond_32_bits_are_rejected_before_the_allocation(columns: int, size: int) -> None:
    text = """(module (memory (export "memory") 1) (func (export "malloc") (param i32) (result i32) unreachable)
      (func (export "free") (param i32)) (func (export "k") (param $x i32) (param $y i32) (param $n i32)))"""
    declared = {"entry": "k", "convention": "gufunc", "signature": f"(n)->(n,{columns})", "inputs": [tensor("x")]}
    module = guests.wasm(text, {**declared, "outputs": [tensor("y", dims=(-1, columns))]})
    with (
        Program.load(module, limits=Limits(max_tensor_bytes=1 << 40)) as program,
        pytest.raises(MemoryLimit) as caught,
    ):
        program.run({"x": np.zeros(1, F32)})
    assert str(caught.value) == f"entry 'k': the tensors need {size} bytes, which a 32-bit guest cannot address"


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
DOUBLE = {
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
    with Program.load(guests.wasm(text, DOUBLE), isolation="instance", limits=limits) as program:
        assert choose_allocator(program.info) is allocator
        yield program


@settings(deadline=None, max_examples=10)
@given(allocator=st.sampled_from(list(REAL)), sizes=st.lists(st.integers(0, 60_000), min_size=1, max_size=6))
def test_tensors_of_any_size_after_any_other_are_right(allocator: Allocator, sizes: list[int]) -> None:
    with doubling(allocator) as program:
        for size in sizes:
            x = np.arange(size, dtype=np.float32)
            np.testing.assert_array_equal(program.run({"x": x})["y"], x * 2)
        assert program.stats.instances == 1


@pytest.mark.parametrize("allocator", [Allocator.MALLOC, Allocator.ASSEMBLYSCRIPT, Allocator.CABI])
def test_only_one_block_is_allocated_after_any_number_of_growths(allocator: Allocator) -> None:
    with noting(allocator, memory="64") as program:
        for elements in (10, 1000, 50_000, 20, 60_000):
            seen = see(program, elements)
        names = [name for name, _ in seen.asked]
        given_, freed = {
            Allocator.MALLOC: (names.count("malloc"), names.count("free")),
            Allocator.ASSEMBLYSCRIPT: (names.count("__pin"), names.count("__unpin")),
            Allocator.CABI: (len(names), sum(arguments[0] != 0 for _, arguments in seen.asked)),
        }[allocator]
        assert given_ >= 3 and given_ - freed == 1
        assert seen.x == -(-seen.last // ALIGN) * ALIGN


@pytest.mark.parametrize("allocator", list(REAL))
def test_too_large_a_tensor_is_rejected_and_the_next_one_served(allocator: Allocator) -> None:
    with doubling(allocator, 1 << 20) as program:
        for size in (10, 20_000):
            program.run({"x": np.ones(size, np.float32)})
        with pytest.raises(
            MemoryLimit, match=r"^entry 'double': the tensors need \d+ bytes, .* may grow to 1048576 \("
        ):
            program.run({"x": np.ones(1 << 20, np.float32)})
        assert program.run({"x": np.ones(3, np.float32)})["y"].tolist() == [2, 2, 2]


# -- whose limit it is -------------------------------------------------------------------------------------------------


NOTHING = '(func (export "k") (param i32 i32 i32))'
LARGE = {"x": np.zeros(200_000, np.float32)}


def outgrown(memory: str, **limits: int) -> str:
    """The error message if the tensors of a kernel do not fit a memory of this type."""
    declared = {"convention": "gufunc", "signature": "(n)->(n)", "entry": "k"}
    tensors = {"inputs": [guests.tensor("x")], "outputs": [guests.tensor("y")]}
    text = f'(module (memory (export "memory") {memory}) {NOTHING})'
    limit = Limits(**limits)
    with Program.load(guests.wasm(text), interface={**declared, **tensors}, limits=limit, cache=None) as program:
        with pytest.raises(MemoryLimit) as caught:
            program.run(LARGE)
        assert program.run({"x": np.ones(3, np.float32)})["y"].tolist() == [0, 0, 0]
    return str(caught.value)


@pytest.mark.parametrize("memory", ["1 2", "0 1", "1 20"])
def test_the_error_names_the_modules_maximum_if_it_is_reached(memory: str) -> None:
    message, most = outgrown(memory), int(memory.split()[1]) * PAGE
    assert f"the module's own maximum is {most} bytes (build it with a larger one: clang -Wl,--max-memory=" in message
    assert "send smaller batches" in message
    assert "max_memory_bytes" not in message


@pytest.mark.parametrize("memory", ["1", "1 65536", "1 40"])
def test_the_error_names_the_hosts_limit_if_it_is_reached(memory: str) -> None:
    message = outgrown(memory, max_memory_bytes=1 << 20)
    assert "may grow to 1048576 (raise Limits.max_memory_bytes, or send smaller batches)" in message
    assert "own maximum" not in message
