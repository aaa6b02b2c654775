"""Consecutive calls with small tensors of equal shapes, for which the executor reuses its own arrays."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from portalis.backend import InputError, Program
from tests.backend import guests
from tests.backend.guests import tensor

pytestmark = pytest.mark.usefixtures("executor")

SHAPES = [(), (1,), (3,), (2, 3), (32, 64), (32, 65)]  # small arrays, then large ones
NEGATE = '(module (func (export "f") (param $x i64) (result i64) (i64.sub (i64.const 0) (local.get $x))))'


def layouts(values: np.ndarray) -> list[np.ndarray]:
    """The same elements with different layouts and spellings of their type."""
    spread = np.repeat(values[..., None], 2, axis=-1)[..., 0]  # not contiguous
    fixed = values.copy()
    fixed.flags.writeable = False
    unaligned = np.frombuffer(b"?" + values.tobytes(), np.int64, values.size, 1).reshape(values.shape)
    as_longlong, swapped = values.astype(np.longlong), values.astype(">i8")
    return [values, np.asfortranarray(values), spread, as_longlong, fixed, swapped, unaligned, unaligned]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_elements_are_read_from_the_arrays_of_the_current_call_for_any_layout(shape: tuple[int, ...]) -> None:
    with Program.load(guests.wasm(NEGATE)) as program:
        earlier: list[tuple[np.ndarray, np.ndarray]] = []
        for n in range(3):
            values = np.arange(n, n + int(np.prod(shape)), dtype=np.int64).reshape(shape)
            earlier += [(values, program.run({"x": x})["y"]) for x in layouts(values)]
        for values, y in earlier:  # later calls must not overwrite earlier results
            np.testing.assert_array_equal(y, -values)


def test_a_failed_request_does_not_affect_the_next() -> None:
    with Program.load(guests.echo(batch=8)) as program:
        for n in range(4):
            x = np.full((2, 4), n, np.float32)
            np.testing.assert_array_equal(program.run({"x": x})["y"], x)
            with pytest.raises(InputError):
                program.run({"x": np.full((9, 4), n, np.float32)})
            lent = program.run_batch([{"x": x + 1}], borrow=True)
            np.testing.assert_array_equal(lent[0]["y"], x + 1)  # type: ignore[index]


def test_each_thread_has_separate_arrays() -> None:
    wrong: list[int] = []
    with Program.load(guests.wasm(NEGATE)) as program:

        def work(n: int) -> None:
            x = np.full(5, n, np.int64)
            wrong.extend(n for _ in range(200) if program.run({"x": x})["y"].tolist() != [-n] * 5)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_the_same_number_of_elements_in_a_different_shape_is_a_different_shape() -> None:
    with Program.load(guests.wasm(NEGATE)) as program:
        for shape in ((2, 3), (2, 3), (2, 3), (3, 2), (6,), (6,), (6,), (1, 6)):
            assert program.run({"x": np.ones(shape, np.int64)})["y"].shape == shape


def test_outputs_whose_size_only_the_guest_knows_are_read_again() -> None:
    # as many elements as the first says, each of which is it
    body = """(local $n i32) (local $i i32) (local $y i32) (local $value f32)
      (local.set $value (f32.load (i32.load (local.get $in))))
      (local.set $n (i32.trunc_f32_u (local.get $value)))
      (local.set $y (i32.const 2048))
      (i64.store (i32.const 1024) (i64.extend_i32_u (local.get $n)))
      (loop $l
        (f32.store (i32.add (local.get $y) (i32.shl (local.get $i) (i32.const 2))) (local.get $value))
        (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
      (i32.store (local.get $out) (local.get $y)) (i32.store offset=12 (local.get $out) (i32.const 1))
      (i32.store offset=20 (local.get $out) (i32.const 1024)) (i32.const 0)"""
    module = guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y")])
    with Program.load(module) as program:
        for n in (3, 3, 3, 5, 5, 3, 5, 5, 5, 3, 3, 3):
            assert program.run({"x": np.full(2, n, np.float32)})["y"].tolist() == [n] * n


@pytest.mark.parametrize("borrow", [False, True])
@pytest.mark.parametrize("width", [3, 5000])
def test_requests_that_are_joined_are_distinguished_regardless_of_earlier_requests(width: int, borrow: bool) -> None:
    """Small tensors are copied into one array, large tensors are passed individually."""
    with Program.load(guests.echo(batch=16)) as program:
        for rows in ((1,), (1,), (4,), (4,), (1, 3), (3, 1), (2, 2), (4,), (1, 1, 2), (4,), (5, 1), (6,), (6,), (5, 1)):
            given = [np.arange(n * width, dtype=np.float32).reshape(n, width) + 100 * i for i, n in enumerate(rows)]
            given[0] = np.asfortranarray(given[0])
            found = program.run_batch([{"x": x} for x in given], borrow=borrow)
            for x, result in zip(given, found, strict=True):
                np.testing.assert_array_equal(result["y"], x)  # type: ignore[index]


@pytest.mark.parametrize("borrow", [False, True])
def test_an_input_that_is_absent_after_a_joined_call_is_read_again(borrow: bool) -> None:
    body = """(if (i32.ge_s (i32.load offset=52 (local.get $in)) (i32.const 0))
        (then (local.set $in (i32.add (local.get $in) (i32.const 40)))))"""  # y is o if it is present, else x
    inputs = [tensor("x"), tensor("o", optional=True)]
    module = guests.dlpack(body + guests.ECHO_BODY, inputs=inputs, outputs=[tensor("y")], batch=8)
    with Program.load(module) as program:
        for n, (count, given) in enumerate([(2, "xo"), (2, "x"), (1, "xo"), (2, "xo"), (1, "x"), (2, "xo"), (1, "xo")]):
            requests = [
                {name: np.full((1, 5000), 100 * n + 10 * i + k, np.float32) for k, name in enumerate(given)}
                for i in range(count)
            ]
            for request, result in zip(requests, program.run_batch(requests, borrow=borrow), strict=True):
                np.testing.assert_array_equal(result["y"], request[given[-1]])  # type: ignore[index]
