"""The elementwise convention: every dtype, broadcasting, chunks, copied and called guests, threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from portalis.backend import InputError, InterfaceError, Program, Trap
from portalis.backend.interface.dtypes import DTYPES, bf16_to_f32, f32_to_bf16
from portalis.backend.plan.elementwise_loop import CHUNK_BYTES
from tests.backend import guests

pytestmark = pytest.mark.usefixtures("executor")
ADD = guests.wasm(guests.ADD)
# The same sum through a call, which cannot be copied into the loop.
CALLED_ADD = guests.wasm(
    """(module (func $sum (param f32 f32) (result f32) (f32.add (local.get 0) (local.get 1)))
    (func (export "add") (param $a f32) (param $b f32) (result f32) (call $sum (local.get $a) (local.get $b))))"""
)


def numbers(valtype: str, op: str = "add") -> str:
    return f'(module (func (export "f") (param {valtype} {valtype}) (result {valtype}) ({valtype}.{op} (local.get 0) (local.get 1))))'


@pytest.fixture(scope="module", params=["copied", "called"])
def add(request: pytest.FixtureRequest, executor: str) -> Program:
    return Program.load(ADD if request.param == "copied" else CALLED_ADD)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=5, max_side=4, min_side=0))
def test_it_broadcasts_as_numpy_does(add: Program, data: st.DataObject, shapes: hnp.BroadcastableShapes) -> None:
    a, b = (data.draw(hnp.arrays(np.float32, s, elements=st.floats(-1e6, 1e6, width=32))) for s in shapes.input_shapes)
    result = add.run({"a": a, "b": b})["y"]
    assert result.shape == shapes.result_shape
    np.testing.assert_array_equal(result, a + b)


def test_many_chunks_with_a_ragged_end_are_all_computed(add: Program) -> None:
    size = CHUNK_BYTES // 4 + 12345
    a, b = np.arange(size, dtype=np.float32), np.float32(0.5)
    np.testing.assert_array_equal(add.run({"a": a, "b": b})["y"], a + b)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 63, 64, 65])
def test_sizes_around_the_unrolled_loop_are_exact(add: Program, size: int) -> None:
    a = np.arange(size, dtype=np.float32)
    np.testing.assert_array_equal(add.run({"a": a, "b": a})["y"], a + a)


def test_strided_input_is_read_in_its_logical_order(add: Program) -> None:
    a = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::-1].T
    np.testing.assert_array_equal(add.run({"a": a, "b": a})["y"], a + a)


def test_a_scalar_gives_a_scalar(add: Program) -> None:
    result = add.run({"a": np.float32(1), "b": 2.0})["y"]
    assert result.shape == () and result == 3


@pytest.mark.parametrize("name", [n for n in DTYPES if n != "BYTES"])
@pytest.mark.parametrize("copied", [True, False])
def test_every_dtype_passes_through_unchanged(name: str, copied: bool) -> None:
    dtype = DTYPES[name]
    body = "(local.get 0)" if copied else "(call $id (local.get 0))"
    text = f"""(module (func $id (param {dtype.wasm}) (result {dtype.wasm}) (local.get 0))
      (func (export "f") (param $x {dtype.wasm}) (result {dtype.wasm}) {body}))"""
    tensors = [guests.tensor("x", name)], [guests.tensor("y", name)]
    module = guests.wasm(text, {"entry": "f", "convention": "elementwise", "inputs": tensors[0], "outputs": tensors[1]})
    if dtype.numpy.kind == "f":
        values = np.array([0, -0.0, 1.5, -2.25, np.inf, -np.inf, np.nan, np.finfo(dtype.numpy.name).max], dtype.numpy)
    elif name == "BF16":
        values = np.array([0, 0x8000, 0x3F80, 0x7F80, 0xFF80, 0x7FC0, 1], np.uint16)
    elif name == "BOOL":
        values = np.array([True, False, True])
    else:
        info = np.iinfo(dtype.numpy.name)
        values = np.array([info.min, 0, 1, 5, info.max], dtype.numpy)
    result = Program.load(module).run({"x": values})["y"]
    assert result.dtype == dtype.numpy
    np.testing.assert_array_equal(result, values)


def test_bfloat16_is_computed_in_float32_and_rounded_to_nearest_even() -> None:
    tensors = {
        "inputs": [guests.tensor("a", "BF16"), guests.tensor("b", "BF16")],
        "outputs": [guests.tensor("y", "BF16")],
    }
    program = Program.load(guests.wasm(guests.ADD, {"entry": "add", "convention": "elementwise", **tensors}))
    a = f32_to_bf16(np.linspace(-3, 3, 1001, dtype=np.float32))
    result = program.run({"a": a, "b": a})["y"]
    np.testing.assert_array_equal(result, f32_to_bf16(bf16_to_f32(a) * 2))


def test_several_results_become_several_outputs() -> None:
    text = """(module (func (export "divmod") (param $a i32) (param $b i32) (result i32 i32)
      (i32.div_s (local.get $a) (local.get $b)) (i32.rem_s (local.get $a) (local.get $b))))"""
    a, b = np.arange(-20, 20, dtype=np.int32), np.int32(7)
    program = Program.load(guests.wasm(text))
    result = program.run({"a": a, "b": b})
    np.testing.assert_array_equal(result["y0"], np.trunc(a / 7).astype(np.int32))
    np.testing.assert_array_equal(result["y1"], np.fmod(a, 7))


def test_guest_locals_are_zero_for_every_element() -> None:
    # adds its argument to a local that a stale value would carry over from the element before
    text = """(module (func (export "f") (param $x f32) (result f32) (local $sum f32)
      (local.set $sum (f32.add (local.get $sum) (local.get $x))) (local.get $sum)))"""
    x = np.arange(100, dtype=np.float32)
    np.testing.assert_array_equal(Program.load(guests.wasm(text)).run({"x": x})["y"], x)


def test_a_trap_in_one_element_is_a_trap_of_the_call_and_the_next_call_succeeds() -> None:
    program = Program.load(guests.wasm(numbers("i32", "div_s")))
    a = np.arange(20, dtype=np.int32)
    with pytest.raises(Trap, match="integer divide by zero"):
        program.run({"x0": a, "x1": a})
    np.testing.assert_array_equal(program.run({"x0": a, "x1": np.int32(2)})["y"], a // 2)
    assert program.stats.traps == 1


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_give_the_same_result(threads: int) -> None:
    with Program.load(ADD, threads=threads) as program:
        a = np.random.default_rng(0).random(300_000, np.float32)
        np.testing.assert_array_equal(program.run({"a": a, "b": a})["y"], a + a)


def test_shapes_that_do_not_broadcast_are_named() -> None:
    with pytest.raises(InputError, match=r"do not broadcast together: 'a' \[2\], 'b' \[3\]"):
        Program.load(ADD).run({"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)})


def test_declared_dimensions_are_enforced() -> None:
    entry = {"entry": "add", "convention": "elementwise", "inputs": [guests.tensor("a", dims=(3,)), guests.tensor("b")]}
    program = Program.load(guests.wasm(guests.ADD, {**entry, "outputs": [guests.tensor("y", dims=(3,))]}))
    ok = np.zeros((2, 3), np.float32)
    assert program.run({"a": ok, "b": ok})["y"].shape == (2, 3)
    with pytest.raises(InputError, match=r"input 'a' has shape \[2, 4\]; it must be \[3\]"):
        program.run({"a": np.zeros((2, 4), np.float32), "b": np.float32(1)})


def test_bytes_cannot_be_an_element() -> None:
    entry = {"entry": "f", "convention": "elementwise", "inputs": [guests.tensor("x", "BYTES")]}
    text = '(module (func (export "f") (param f32) (result f32) (local.get 0)))'
    with pytest.raises(InterfaceError, match="BYTES"):
        Program.load(guests.wasm(text, {**entry, "outputs": [guests.tensor("y")]}))


def test_memory_use_does_not_grow_with_the_arrays() -> None:
    program = Program.load(ADD)
    big = np.ones(20_000_000, np.float32)
    assert program.run({"a": big, "b": big})["y"][-1] == 2
    assert program.stats.memory_high_water_bytes <= 2 * CHUNK_BYTES
