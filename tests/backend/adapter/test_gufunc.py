"""The gufunc convention: signatures, broadcasting over loop dimensions, arguments of every kind, buffers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from portalis.backend import GuestStatus, InputError, InterfaceError, ModuleError, Program
from portalis.backend.plan.buffers import choose_allocator
from tests.backend import guests

pytestmark = pytest.mark.usefixtures("executor")
CHUNK_BYTES = 2 << 20  # of adapter.c


def entry(
    name: str, signature: str, inputs: dict[str, str], outputs: dict[str, str], **more: object
) -> dict[str, object]:
    ranks = [
        part.count(",") + 1 if part.strip() else 0
        for part in signature.replace("->", ",").replace("),(", ")|(").replace("(", "").replace(")", "").split("|")
    ]
    sides = iter(ranks)
    tensors = [[guests.tensor(n, d, (-1,) * next(sides)) for n, d in side.items()] for side in (inputs, outputs)]
    return {
        "entry": name,
        "convention": "gufunc",
        "signature": signature,
        "inputs": tensors[0],
        "outputs": tensors[1],
        **more,
    }


@pytest.fixture(scope="module")
def double(executor: str) -> Program:
    return Program.load(guests.wasm(guests.DOUBLE, entry("double", "(n)->(n)", {"x": "FP32"}, {"y": "FP32"})))


@pytest.fixture(scope="module")
def total(executor: str) -> Program:
    return Program.load(guests.wasm(guests.SUM, entry("sum", "(n)->()", {"x": "FP32"}, {"s": "FP32"})))


@pytest.fixture(scope="module")
def matmul(executor: str) -> Program:
    described = entry("matmul", "(m,n),(n,p)->(m,p)", {"a": "FP64", "b": "FP64"}, {"c": "FP64"})
    return Program.load(guests.wasm(guests.MATMUL, described))


@settings(deadline=None, max_examples=50)
@given(
    x=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=1, max_dims=8, min_side=0, max_side=4),
        elements=st.floats(-1e3, 1e3, width=32),
    )
)
def test_loop_shapes_up_to_rank_8_are_supported(double: Program, x: np.ndarray) -> None:
    np.testing.assert_array_equal(double.run({"x": x})["y"], x * 2)


def test_a_scalar_result_is_an_output(total: Program) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(total.run({"x": x})["s"], x.sum(axis=1))
    assert total.run({"x": x[0]})["s"].shape == ()


def test_an_empty_core_dimension_still_calls_the_kernel(total: Program) -> None:
    np.testing.assert_array_equal(total.run({"x": np.zeros((3, 0), np.float32)})["s"], np.zeros(3, np.float32))


def test_loop_dimensions_broadcast(matmul: Program) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((3, 1, 2, 4)), rng.random((5, 4, 3))
    np.testing.assert_allclose(matmul.run({"a": a, "b": b})["c"], a @ b, rtol=1e-12)


def test_a_tensor_without_loop_dimensions_serves_every_item(matmul: Program) -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random((1000, 2, 4)), rng.random((4, 3))
    np.testing.assert_allclose(matmul.run({"a": a, "b": b})["c"], a @ b, rtol=1e-12)


def test_different_core_dimensions_are_named(matmul: Program) -> None:
    with pytest.raises(InputError, match="'?n'?"):
        matmul.run({"a": np.zeros((2, 4)), "b": np.zeros((5, 3))})


def test_batches_larger_than_a_chunk_are_computed(double: Program) -> None:
    x = np.random.default_rng(3).random((3 * CHUNK_BYTES // 4000 + 17, 1000), np.float32)
    np.testing.assert_array_equal(double.run({"x": x})["y"], x * 2)
    assert double.stats.memory_high_water_bytes <= 4 * CHUNK_BYTES


def test_one_item_larger_than_a_chunk_is_computed(double: Program) -> None:
    x = np.random.default_rng(4).random((2, CHUNK_BYTES), np.float32)
    np.testing.assert_array_equal(double.run({"x": x})["y"], x * 2)


def test_arguments_in_another_order_with_a_constant_and_the_batch() -> None:
    # scale(n, factor, y, x, batch): loops over the batch itself
    text = """(module (memory (export "memory") 1)
      (func (export "scale") (param $n i64) (param $factor f32) (param $y i32) (param $x i32) (param $batch i32) (result i32)
        (local $i i32)
        (local.set $i (i32.mul (local.get $batch) (i32.wrap_i64 (local.get $n))))
        (block $done (loop $next
          (br_if $done (i32.eqz (local.get $i)))
          (f32.store (local.get $y) (f32.mul (f32.load (local.get $x)) (local.get $factor)))
          (local.set $x (i32.add (local.get $x) (i32.const 4)))
          (local.set $y (i32.add (local.get $y) (i32.const 4)))
          (local.set $i (i32.sub (local.get $i) (i32.const 1))) (br $next)))
        (i32.const 0)))"""
    described = entry(
        "scale", "(n)->(n)", {"x": "FP32"}, {"y": "FP32"}, args=["n", 3, "y", "x", "batch"], returns="status"
    )
    x = np.random.default_rng(5).random((40, 7), np.float32)
    np.testing.assert_array_equal(Program.load(guests.wasm(text, described)).run({"x": x})["y"], x * 3)


def test_a_constant_in_the_generated_loop_has_the_parameters_type() -> None:
    text = """(module (memory (export "memory") 1)
      (func (export "f") (param $x i32) (param $s i64) (param $a f32) (param $b f64) (result f64)
        (f64.add (f64.add (f64.promote_f32 (f32.load (local.get $x))) (f64.convert_i64_s (local.get $s)))
                 (f64.add (f64.promote_f32 (local.get $a)) (local.get $b)))))"""
    described = entry("f", "()->()", {"x": "FP32"}, {"y": "FP64"}, args=["x", -5, 2, 3])
    np.testing.assert_array_equal(
        Program.load(guests.wasm(text, described)).run({"x": np.array([1, 2], np.float32)})["y"], [1.0, 2.0]
    )


STATUS = """(module (memory (export "memory") 1)
  (func (export "check") (param $x i32) (param $y i32) (param $n i32) (result i32)
    (i32.store (local.get $y) (i32.load (local.get $x))) (i32.load (local.get $x))))"""


def test_a_status_stops_the_batch_with_its_number() -> None:
    described = entry("check", "(n)->(n)", {"x": "INT32"}, {"y": "INT32"}, returns="status")
    program = Program.load(guests.wasm(STATUS, described))
    assert program.run({"x": np.zeros((5, 1), np.int32)})["y"].sum() == 0
    with pytest.raises(GuestStatus, match="returned status -7"):
        program.run({"x": np.array([[0], [0], [-7], [9]], np.int32)})


@pytest.mark.parametrize(
    ("more", "allocator"),
    [
        ("", "pages"),
        (
            """(global $t (mut i32) (i32.const 70000))
            (func (export "malloc") (param i32) (result i32) (local $p i32)
              (local.set $p (global.get $t)) (global.set $t (i32.add (global.get $t) (local.get 0)))
              (drop (memory.grow (i32.const 40))) (local.get $p))
            (func (export "free") (param i32))""",
            "malloc",
        ),
        (
            """(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
              (drop (memory.grow (i32.const 40))) (i32.const 65540))""",
            "cabi_realloc",
        ),
        (
            """(func (export "__new") (param i32 i32) (result i32) (drop (memory.grow (i32.const 40))) (i32.const 65544))
            (func (export "__pin") (param i32) (result i32) (local.get 0)) (func (export "__unpin") (param i32))""",
            "__new",
        ),
    ],
)
def test_tensors_live_where_the_guest_has_memory(more: str, allocator: str) -> None:
    text = guests.DOUBLE[:-1] + more + ")"
    program = Program.load(guests.wasm(text, entry("double", "(n)->(n)", {"x": "FP32"}, {"y": "FP32"})))
    x = np.random.default_rng(6).random((3, 5000), np.float32)
    np.testing.assert_array_equal(program.run({"x": x})["y"], x * 2)
    assert choose_allocator(program.info) == allocator


def test_a_module_that_grows_its_memory_without_an_allocator_is_rejected() -> None:
    text = guests.DOUBLE[:-1] + '(func (export "other") (drop (memory.grow (i32.const 1)))))'
    with pytest.raises(ModuleError, match="export an allocator"):
        Program.load(guests.wasm(text, entry("double", "(n)->(n)", {"x": "FP32"}, {"y": "FP32"})))


def test_a_kernel_without_memory_is_rejected() -> None:
    text = '(module (func (export "f") (param i32 i32 i32)))'
    with pytest.raises((ModuleError, InterfaceError), match="memory"):
        Program.load(guests.wasm(text, entry("f", "(n)->(n)", {"x": "FP32"}, {"y": "FP32"})))


def test_too_few_arguments_are_rejected_with_the_remedy() -> None:
    text = '(module (memory (export "memory") 1) (func (export "f") (param i32 i32)))'
    with pytest.raises(InterfaceError, match="args"):
        Program.load(guests.wasm(text, entry("f", "(n)->(n)", {"x": "FP32"}, {"y": "FP32"})))


@pytest.mark.parametrize("isolation", ["request", "batch", "instance"])
def test_every_isolation_computes_the_same_a_hundred_times_with_flat_memory(isolation: str) -> None:
    module = guests.wasm(guests.DOUBLE, entry("double", "(n)->(n)", {"x": "FP32"}, {"y": "FP32"}, max_batch_size=8))
    program = Program.load(module, isolation=isolation)
    for size in (10, 100_000, 10):
        x = np.random.default_rng(size).random((4, size), np.float32)
        for _ in range(34):
            np.testing.assert_array_equal(program.run({"x": x})["y"], x * 2)
    assert program.stats.calls == 102
    assert program.stats.memory_high_water_bytes < 4 << 20


def test_threads_split_the_batch() -> None:
    described = entry("double", "(n)->(n)", {"x": "FP32"}, {"y": "FP32"})
    with Program.load(guests.wasm(guests.DOUBLE, described), threads=2) as program:
        x = np.random.default_rng(7).random((2000, 1000), np.float32)
        np.testing.assert_array_equal(program.run({"x": x})["y"], x * 2)
        assert program.stats.calls == 1
        assert 1 <= program.stats.instances <= 2


@pytest.mark.parametrize("name", ["UINT8", "INT16", "FP16", "BF16", "BOOL", "UINT64"])
def test_a_kernel_gets_the_raw_elements_of_its_dtype(name: str) -> None:
    # copies n items of the core dimension's bytes
    from portalis.backend.interface.dtypes import DTYPES

    size = DTYPES[name].itemsize
    text = f"""(module (memory (export "memory") 1) (func (export "copy") (param $x i32) (param $y i32) (param $n i32)
      (memory.copy (local.get $y) (local.get $x) (i32.mul (local.get $n) (i32.const {size})))))"""
    x = np.random.default_rng(8).integers(0, 2, (3, 50)).astype(DTYPES[name].numpy)
    program = Program.load(guests.wasm(text, entry("copy", "(n)->(n)", {"x": name}, {"y": name})))
    np.testing.assert_array_equal(program.run({"x": x})["y"], x)


CONSTANT = """(module (memory (export "memory") 1) (func (export "f") (param $x i32) (param $y i32) (param $c {valtype})
  ({valtype}.store (local.get $y) (local.get $c))))"""


@pytest.mark.parametrize(
    ("valtype", "value", "dtype", "seen"),
    [
        ("i32", 4294967295, "UINT32", 4294967295),
        ("i32", -1, "INT32", -1),
        ("i64", (1 << 64) - 1, "UINT64", (1 << 64) - 1),
        ("i64", -(1 << 63), "INT64", -(1 << 63)),
        ("f32", 2.5, "FP32", 2.5),
        ("f32", 3, "FP32", 3),
        ("f64", -1e300, "FP64", -1e300),
    ],
)
@pytest.mark.parametrize("loops_itself", [False, True])
def test_a_constant_arrives_as_it_was_declared(
    valtype: str, value: float, dtype: str, seen: float, loops_itself: bool
) -> None:
    text, args = CONSTANT.format(valtype=valtype), ["x", "y", value]
    if loops_itself:
        text, args = text.replace("(param $c", "(param $n i32) (param $c"), ["x", "y", "batch", value]
    described = entry("f", "()->()", {"x": dtype}, {"y": dtype}, args=args)
    described |= {"inputs": [guests.tensor("x", dtype, ())], "outputs": [guests.tensor("y", dtype, ())]}
    program = Program.load(guests.wasm(text, described))
    assert program.run({"x": np.zeros(1, program.interface.inputs[0].dtype.numpy)})["y"].tolist() == [seen]


@pytest.mark.parametrize(
    ("valtype", "value"),
    [("i32", 1 << 32), ("i32", 2.5), ("i32", float("nan")), ("i64", 1 << 64), ("f32", 1e300), ("f64", 10**400)],
)
def test_a_constant_that_does_not_fit_is_rejected(valtype: str, value: float) -> None:
    described = entry("f", "()->()", {"x": "FP32"}, {"y": "FP32"}, args=["x", "y", value])
    with pytest.raises(InterfaceError, match=f"of entry 'f' is not a valid {valtype}"):
        Program.load(guests.wasm(CONSTANT.format(valtype=valtype), described))


def test_a_pointer_must_be_an_i32_and_a_status_too() -> None:
    text = '(module (memory (export "memory") 1) (func (export "f") (param i64 i32)))'
    with pytest.raises(InterfaceError, match="a parameter i64 where a pointer is declared, which is i32"):
        Program.load(guests.wasm(text, entry("f", "()->()", {"x": "FP32"}, {"y": "FP32"}, args=["x", "y"])))
    text = '(module (memory (export "memory") 1) (func (export "f") (param i32 i32) (result i64) (i64.const 0)))'
    described = entry("f", "()->()", {"x": "FP32"}, {"y": "FP32"}, args=["x", "y"], returns="status")
    with pytest.raises(InterfaceError, match="returns i64, but a status is an i32"):
        Program.load(guests.wasm(text, described))


def test_a_kernel_that_loops_itself_cannot_return_a_number_for_each_item() -> None:
    text = '(module (memory (export "memory") 1) (func (export "f") (param i32 i32) (result f32) (f32.const 1)))'
    described = entry("f", "()->()", {"x": "FP32"}, {"y": "FP32"}, args=["x", "batch"])
    with pytest.raises(InterfaceError, match=r"loops over the batch itself .* cannot return 'y'"):
        Program.load(guests.wasm(text, described))
