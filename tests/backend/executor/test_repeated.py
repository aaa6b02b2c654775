"""Requests whose shapes are known, so that their calls are prepared, have the same results as the first of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portalis.backend import GuestError, Limits, Program
from portalis.examples.catalog import EXAMPLES
from tests.backend import guests, stores
from tests.backend.guests import tensor
from tests.backend.limits import in_time, not_late

pytestmark = pytest.mark.usefixtures("executor")

F32 = np.float32
KEPT = 64  # shapes whose calls are prepared
# y = x, and traps where the first element of x is 1, loops where it is 2, fails with status 5 where it is 3
MOODY = guests.dlpack(
    """(local $first f32) (local.set $first (f32.load (i32.load (local.get $in))))
    (if (f32.eq (local.get $first) (f32.const 1)) (then unreachable))
    (if (f32.eq (local.get $first) (f32.const 2)) (then (loop $l (br $l))))
    (if (f32.eq (local.get $first) (f32.const 3)) (then (return (i32.const 5))))"""
    + guests.ECHO_BODY,
    inputs=[tensor("x")],
    outputs=[tensor("y")],
    batch=8,
)


def row(value: float, width: int = 4) -> dict[str, np.ndarray]:
    return {"x": np.full((1, width), value, F32)}


def reported(results: list[Any]) -> list[Any]:
    """Copies of the results: views are valid only until the next call."""
    return [str(r) if isinstance(r, Exception) else {k: v.tolist() for k, v in r.items()} for r in results]


def both(program: Program, requests: list[dict[str, np.ndarray]]) -> tuple[list[Any], list[Any]]:
    """The results of a program that has already served requests of these shapes, and of a new program."""
    with Program.load(MOODY) as new:
        return reported(program.run_batch(requests, borrow=True)), reported(new.run_batch(requests))


@given(st.lists(st.lists(st.tuples(st.integers(4, 9), st.integers(1, 3)), min_size=1, max_size=4), max_size=12))
@settings(max_examples=40, deadline=None)
def test_results_do_not_depend_on_earlier_batches(batches: list[list[tuple[int, int]]]) -> None:
    with Program.load(MOODY) as program:
        for batch in batches:
            requests = [row(value, width) for value, width in batch]
            ours, fresh = both(program, requests)
            assert ours == fresh


@pytest.mark.parametrize("bad", [1, 3])
def test_a_failure_of_a_known_shape_is_reported_like_one_of_a_new_shape(bad: int) -> None:
    with Program.load(MOODY) as program:
        program.run_batch([row(7)], borrow=True)
        ours, fresh = both(program, [row(bad)])
        assert ours == fresh
        assert ours[0].startswith("entry 'portalis_infer': ")
        assert reported(program.run_batch([row(8)], borrow=True)) == [{"y": [[8] * 4]}]


def test_a_loop_in_a_call_of_a_known_shape_ends_at_its_deadline() -> None:
    def check(limit_s: float) -> None:
        with Program.load(MOODY, limits=Limits(timeout_s=limit_s)) as program:
            not_late(program.run_batch([row(7)], borrow=True)[0])
            (result,) = program.run_batch([row(2)], borrow=True)
            assert f"time limit of {limit_s:g} s" in str(result)
            (result,) = program.run_batch([row(2)], timeouts_s=[0.05], borrow=True)
            assert "time limit of 0.05 s" in str(result)
            assert program.stats.timeouts == 2
            assert reported([not_late(*program.run_batch([row(8)], borrow=True))]) == [{"y": [[8] * 4]}]

    in_time(check, 0.2)


def test_one_failing_request_of_a_batch_of_known_shapes_fails_alone() -> None:
    with Program.load(MOODY) as program:
        program.run_batch([row(4), row(5), row(6)], borrow=True)
        results = reported(program.run_batch([row(4), row(1), row(6)], borrow=True))
        # MOODY looks at the first element of its batch only, so the second request fails when it is alone
        assert results[0] == {"y": [[4] * 4]}
        results = reported(program.run_batch([row(1), row(5), row(6)], borrow=True))
        assert "unreachable" in results[0]
        assert results[1:] == [{"y": [[5] * 4]}, {"y": [[6] * 4]}]


def test_a_cancelled_request_is_skipped_after_a_failure() -> None:
    from portalis.backend.errors import Cancelled

    def check_cancelled(index: int) -> None:
        if index == 1:
            raise Cancelled("the request was cancelled before it was run")

    with Program.load(MOODY) as program:
        program.run_batch([row(4), row(5)], borrow=True)
        results = program.run_batch([row(1), row(5)], borrow=True, check_cancelled=check_cancelled)
        assert "unreachable" in str(results[0])
        assert isinstance(results[1], Cancelled)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"x": np.ones((1, 4), np.float64)}, "input 'x' has dtype float64, not float32"),
        ({"x": np.ones(4, F32)}, "input 'x' has shape [4]"),
        ({}, "input 'x' is missing"),
        ({"x": np.ones((1, 4), F32), "z": np.ones(1, F32)}, "unknown input 'z'"),
        ({"x": np.ones((9, 4), F32)}, "the batch of 9 is larger than the maximum of 8"),
    ],
)
def test_an_invalid_request_is_rejected_after_valid_ones(request_: dict[str, Any], message: str) -> None:
    with Program.load(MOODY) as program:
        for _ in range(2):
            program.run_batch([row(7)], borrow=True)
        (result,) = program.run_batch([request_], borrow=True)
        assert message in str(result)


def test_a_list_is_still_accepted() -> None:
    with Program.load(MOODY) as program:
        program.run_batch([row(7)], borrow=True)
        assert reported(program.run_batch([{"x": [[7, 7, 7, 7]]}], borrow=True)) == [{"y": [[7] * 4]}]


def test_inputs_with_different_rows_are_rejected_in_a_batch_whose_sums_fit() -> None:
    module = guests.dlpack(guests.ECHO_BODY, inputs=[tensor("x"), tensor("z")], outputs=[tensor("y")], batch=8)
    with Program.load(module) as program:
        one, two = np.ones((1, 3), F32), np.ones((2, 3), F32)
        program.run_batch([{"x": one, "z": one}, {"x": two, "z": two}], borrow=True)
        results = program.run_batch([{"x": one, "z": two}, {"x": two, "z": one}], borrow=True)
        assert all("the inputs have different batch sizes" in str(r) for r in results)


def test_more_shapes_than_are_cached_are_all_served() -> None:
    with Program.load(MOODY) as program:
        for width in [*range(1, KEPT + 5)] * 2:
            assert reported(program.run_batch([row(9, width)], borrow=True)) == [{"y": [[9] * width]}]


def test_a_guest_that_moves_its_output_is_read_again() -> None:
    # the output lies where the input's second element says, in elements after the first
    body = """(local $x i32) (local.set $x (i32.load (local.get $in)))
      (i32.store (i32.load offset=20 (local.get $out)) (i32.const 1))
      (i32.store (local.get $out) (i32.add (local.get $x)
        (i32.shl (i32.trunc_f32_u (f32.load offset=4 (local.get $x))) (i32.const 2))))
      (i32.const 0)"""
    module = guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y", "FP32", (1,))], batch=8)
    with Program.load(module) as program:
        for place in (2, 3, 2, 4, 4):
            x = np.array([[0, place, 20, 30, 40]], F32)
            assert reported(program.run_batch([{"x": x}], borrow=True)) == [{"y": [[place * 10]]}]


def test_an_invalid_output_of_the_second_call_is_detected() -> None:
    body = (
        """(if (f32.eq (f32.load (i32.load (local.get $in))) (f32.const 9))
        (then (i32.store (local.get $out) (i32.const 0x7ffffff0)) (return (i32.const 0))))"""
        + guests.ECHO_BODY
    )
    module = guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y")], batch=8)
    with Program.load(module) as program:
        program.run_batch([row(7)], borrow=True)
        (result,) = program.run_batch([row(9)], borrow=True)
        assert isinstance(result, GuestError)
        assert reported(program.run_batch([row(7)], borrow=True)) == [{"y": [[7] * 4]}]


@pytest.mark.parametrize("isolation", ["batch", "instance", "request"])
def test_repeated_calls_of_a_gufunc_have_equal_results(isolation: str) -> None:
    rng = np.random.default_rng(3)
    example = EXAMPLES["softmax"]
    with Program.load(example.module, isolation=isolation) as program:
        for rows in (1, 4, 1, 64, 4):
            xs = [rng.normal(size=(rows, 33)).astype(F32) for _ in range(2)]
            for x, result in zip(xs, program.run_batch([{"x": x} for x in xs], borrow=True)):
                assert not isinstance(result, Exception)
                np.testing.assert_allclose(result["y"], example.reference({"x": x})["y"], rtol=1e-5)


def test_repeated_calls_of_a_gufunc_with_a_broadcast_input_have_equal_results() -> None:
    text = """(module (memory (export "memory") 1) (func (export "f") (param $x i32) (param $y i32) (param $z i32)
      (f32.store (local.get $z) (f32.add (f32.load (local.get $x)) (f32.load (local.get $y))))))"""
    entry = {
        "entry": "f",
        "convention": "gufunc",
        "signature": "(),()->()",
        "args": ["x", "y", "z"],
        "inputs": [tensor("x", dims=()), tensor("y", dims=())],
        "outputs": [tensor("z", dims=())],
        "max_batch_size": 8,
    }
    with Program.load(guests.wasm(text, entry)) as program:
        x, y = np.arange(3, dtype=F32).reshape(3, 1), np.arange(2, dtype=F32)
        for _ in range(3):
            assert reported(program.run_batch([{"x": x, "y": y}], borrow=True)) == [{"z": (x + y).tolist()}]


def test_a_status_from_a_gufunc_kernel_is_reported_each_time() -> None:
    text = """(module (memory (export "memory") 1) (func (export "f") (param $x i32) (param $y i32) (result i32)
      (f32.store (local.get $y) (f32.load (local.get $x))) (i32.trunc_f32_u (f32.load (local.get $x)))))"""
    entry = {
        "entry": "f",
        "convention": "gufunc",
        "signature": "()->()",
        "args": ["x", "y"],
        "returns": "status",
        "inputs": [tensor("x", dims=())],
        "outputs": [tensor("y", dims=())],
        "max_batch_size": 8,
    }
    with Program.load(guests.wasm(text, entry)) as program:
        for value in (0, 0, 4, 0):
            (result,) = program.run_batch([{"x": np.full(1, value, F32)}], borrow=True)
            expected = "entry 'f': the guest returned status 4" if value else {"y": [0]}
            assert reported([result]) == [expected]


def test_borrowed_outputs_outlive_the_program_but_its_memory_does_not(executor: str) -> None:
    new = stores.new(executor)
    with Program.load(MOODY) as program:
        for _ in range(2):
            (result,) = program.run_batch([row(7)], borrow=True)
    assert reported([result]) == [{"y": [[7] * 4]}]
    del result
    new.go_down_to(0)


# -- a block that moves ------------------------------------------------------------------------------------------------

# Memory that was given back is the guest's own: `$scribble` uses it at each call. Every allocation is a new place.
OWNED = """
  (memory (export "memory") 8)
  (global $top (mut i32) (i32.const 4096))
  (global $freed (mut i32) (i32.const 0))
  (func $bump (param $size i32) (result i32)
    (global.set $top (i32.and (i32.add (i32.add (global.get $top) (local.get $size)) (i32.const 127)) (i32.const -64)))
    (i32.sub (global.get $top) (i32.and (i32.add (local.get $size) (i32.const 63)) (i32.const -64))))
  (func $give_back (param $p i32) (if (local.get $p) (then (global.set $freed (local.get $p)))))
  (func $scribble
    (if (global.get $freed) (then (memory.fill (global.get $freed) (i32.const 0x7f) (i32.const 512)))))
"""
ALLOCATORS = {
    "malloc": """(func (export "malloc") (param i32) (result i32) (call $bump (local.get 0)))
      (func (export "free") (param i32) (call $give_back (local.get 0)))""",
    "cabi_realloc": """(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (call $give_back (local.get 0)) (call $bump (local.get 3)))""",
    "assemblyscript": """(func (export "__new") (param i32 i32) (result i32) (call $bump (local.get 0)))
      (func (export "__pin") (param i32) (result i32) (local.get 0))
      (func (export "__unpin") (param i32) (call $give_back (local.get 0)))""",
    "portalis_alloc": """(global $last (mut i32) (i32.const 0))
      (func (export "portalis_alloc") (param i32 i32) (result i32)
        (call $give_back (global.get $last)) (global.set $last (call $bump (local.get 0))) (global.get $last))""",
}
DOUBLED = """(func (export "double") (param $x i32) (param $y i32) (param $n i32) (call $scribble)
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $n)))
      (f32.store (local.get $y) (f32.mul (f32.load (local.get $x)) (f32.const 2)))
      (local.set $x (i32.add (local.get $x) (i32.const 4)))
      (local.set $y (i32.add (local.get $y) (i32.const 4)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br $next))))"""
ECHOED = f"""(func (export "portalis_abi_v1"))
  (func (export "portalis_infer") (param $in i32) (param $nin i32) (param $out i32) (param $nout i32) (result i32)
    (call $scribble) {guests.ECHO_BODY})"""


@pytest.mark.parametrize("isolation", ["request", "batch", "instance"])
@pytest.mark.parametrize(
    ("convention", "allocator"), [*(("gufunc", each) for each in ALLOCATORS), ("dlpack", "portalis_alloc")]
)
def test_requests_of_a_known_shape_are_not_written_to_a_block_that_has_moved(
    convention: str, allocator: str, isolation: str
) -> None:
    gufunc = convention == "gufunc"
    entry = {"entry": "double" if gufunc else "portalis_infer", "convention": convention}
    text = f"(module {OWNED} {ALLOCATORS[allocator]} {DOUBLED if gufunc else ECHOED})"
    more = {"signature": "(n)->(n)"} if gufunc else {}
    module = guests.wasm(text, {**entry, **more, "inputs": [tensor("x")], "outputs": [tensor("y")]})
    with Program.load(module, isolation=isolation) as program:
        for size in (100, 100, 400, 200, 100, 100, 200, 1000, 400, 100, 200):
            x = np.arange(size, dtype=F32)
            (result,) = program.run_batch([{"x": x}], borrow=True)
            np.testing.assert_array_equal(result["y"], x * 2 if gufunc else x)  # type: ignore[index]
