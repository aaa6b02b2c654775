"""Sizes that a guest or a client makes up meet NumPy only after they were checked: each is the error of its request."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from portalis.backend import AbiViolation, GuestError, InputError, InternalError, Limits, MemoryLimit, Program
from portalis.backend.executor.core_executor import CoreExecutor
from portalis.backend.executor.python_executor import PythonExecutor
from tests.backend import guests
from tests.backend.guests import tensor
from tests.backend.host_guests import lying_shape, moody

pytestmark = pytest.mark.usefixtures("executor")
ISOLATIONS = ["request", "batch", "instance"]
HUGE = 1 << 62
MANY = 100_000  # elements: several passes of a loop


def rows(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values, np.float32).reshape(-1, 1)}


def good(*values: float) -> list[list[list[float]]]:
    return [[[value]] for value in values]


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("borrow", [False, True])
@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (0, HUGE, "which is too large"),
        (HUGE, 0, "which is too large"),
        (0, (1 << 63) - 1, "which is too large"),
        (1 << 40, 1 << 40, "points outside the guest's memory"),
        (0, -1, "negative size"),
        (-HUGE, -HUGE, "negative size"),
        (1 << 31, 1, "points outside the guest's memory"),
    ],
)
def test_an_invalid_shape_is_the_error_of_its_request(
    first: int, second: int, message: str, borrow: bool, isolation: str
) -> None:
    program = Program.load(lying_shape(first, second), isolation=isolation)
    with pytest.raises(AbiViolation, match=message):
        program.run(rows(-1))
    for _ in range(3):  # the first ones prepare the fast path
        batch = [rows(i) for i in range(5)] + [rows(-1), rows(7, 8)]
        *before, bad, after = program.run_batch(batch, borrow=borrow)
        assert [r["y"].tolist() for r in before if isinstance(r, dict)] == [good(i) for i in range(5)]
        assert isinstance(bad, AbiViolation) and message in str(bad)
        assert isinstance(after, dict) and after["y"].tolist() == good(7, 8)
    other = Program.load(guests.echo())
    assert other.run({"x": np.ones(2, np.float32)})["y"].tolist() == [1, 1]


def test_a_shape_without_elements_is_accepted_if_numpy_supports_it() -> None:
    assert Program.load(lying_shape(0, 1 << 40)).run(rows(-1))["y"].shape == (1, 0, 1 << 40)


@pytest.mark.parametrize(
    ("rank", "sizes", "message"),
    [
        (2, (0, HUGE), "which is too large"),
        (3, (0, 1 << 40, 1 << 40), "which is too large"),
        (2, (0, -1), "negative size"),
        (-1, (), "negative size"),
        (1 << 40, (), "rank 1099511627776"),
        (2, (HUGE, HUGE), "which is too large"),
        (1, (1 << 50,), "has 0 elements, but its shape is"),
    ],
)
def test_an_invalid_logical_shape_of_bytes_is_an_error(rank: int, sizes: tuple[int, ...], message: str) -> None:
    stores = "".join(f"(i64.store (i32.const {96 + 8 * i}) (i64.const {size}))" for i, size in enumerate(sizes))
    body = f"""(i32.store (local.get $out) (i32.const 64)) (i32.store offset=12 (local.get $out) (i32.const 1))
      (i32.store offset=20 (local.get $out) (i32.const 80)) (i32.store offset=24 (local.get $out) (i32.const 88))
      (i64.store (i32.const 88) (i64.const {rank})) {stores} (i32.const 0)"""
    dims = (-1,) * max(len(sizes), 1)
    module = guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y", "BYTES", dims)])
    limits = Limits(max_bytes_elements=1 << 62)
    with pytest.raises(AbiViolation, match=message):
        Program.load(module, limits=limits).run({"x": np.zeros(1, np.float32)})


def outer(shape: tuple[int, ...], other: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {"a": np.zeros(shape, np.float32), "b": np.zeros(other, np.float32)}


SMALL = Limits(max_tensor_bytes=1 << 20)


@pytest.mark.parametrize(
    "inputs", [outer((0, 1 << 40, 1), (0, 1, 1 << 40)), outer((1000, 1), (1, 1000)), outer((600_000,), ())]
)
def test_arrays_that_broadcast_beyond_the_limit_are_an_input_error(inputs: dict[str, np.ndarray]) -> None:
    program = Program.load(guests.wasm(guests.ADD), limits=SMALL)
    bad, fine = program.run_batch([inputs, outer((3, 1), (1, 2))])
    assert isinstance(bad, InputError) and program.stats.instances <= 1
    assert "too large" in str(bad) or "raise Limits.max_tensor_bytes" in str(bad) or "broadcast" in str(bad)
    assert isinstance(fine, dict) and next(iter(fine.values())).shape == (3, 2)


def kernel(text: str, signature: str, *names: str) -> bytes:
    entry = text.partition('(export "')[2] and text.split('(func (export "')[1].partition('"')[0]
    inputs, outputs = [tensor(name, dims=(-1,)) for name in names[:-1]], [tensor(names[-1], dims=(-1,))]
    described = {"entry": entry, "convention": "gufunc", "signature": signature, "inputs": inputs, "outputs": outputs}
    if signature.endswith("->()"):
        outputs[0]["dims"] = []
    return guests.wasm(text, described)


@pytest.mark.parametrize("shape", [(1 << 40, 0), (1 << 20, 0), (1 << 20, 1)])
def test_a_kernel_over_too_many_items_is_an_input_error(shape: tuple[int, ...]) -> None:
    # items without elements cost the client nothing
    program = Program.load(kernel(guests.SUM, "(n)->()", "x", "s"), limits=SMALL)
    x = np.zeros(shape, np.float32)
    for _ in range(2):
        with pytest.raises(InputError, match="raise Limits.max_tensor_bytes"):
            program.run({"x": x})
        assert program.stats.instances == 1  # which was not called, and serves on
    assert program.run({"x": np.ones((2, 3), np.float32)})["s"].tolist() == [3, 3]
    assert program.stats.instances <= 2  # requests of another size may have one of their own


def test_an_empty_output_that_numpy_does_not_support_is_an_input_error() -> None:
    program = Program.load(kernel(guests.DOUBLE, "(n)->(n)", "x", "y"))
    assert program.run({"x": np.zeros((1 << 59, 0), np.float32)})["y"].shape == (1 << 59, 0)
    huge = np.lib.stride_tricks.as_strided(np.zeros(0, np.float32), (1 << 59, 0), (0, 0))
    assert isinstance(program.run_batch([{"x": huge[:, None]}])[0], dict)


# -- what no check foresaw ---------------------------------------------------------------------------------------------


def fail_for(value: float, kind: Callable[[str], Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise an exception that is not a WasmError when a request runs with `value` in one of its outputs."""
    for executor in (PythonExecutor, CoreExecutor):

        def run(*arguments: Any, real: Callable[..., list[np.ndarray]] = executor.run) -> list[np.ndarray]:
            found = real(*arguments)
            if any((output == value).any() for output in found):
                raise kind("a bug")
            return found

        monkeypatch.setattr(executor, "run", run)


@pytest.mark.parametrize("kind", [ValueError, ZeroDivisionError, MemoryError, RecursionError])
@pytest.mark.parametrize("borrow", [False, True])
@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_an_unexpected_exception_affects_only_its_request_and_is_logged(
    kind: Callable[[str], Exception],
    borrow: bool,
    isolation: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    program = Program.load(moody(), isolation=isolation)
    fail_for(13, kind, monkeypatch)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            results = program.run_batch([rows(1), rows(13), rows(2, 3), rows(-1)], borrow=borrow)
        assert [isinstance(r, dict) and r["y"].ravel().tolist() for r in results] == [[1], False, [2, 3], False]
        assert isinstance(results[1], InternalError) and str(results[1]) == "internal error; see the server log"
        assert isinstance(results[3], GuestError)
        assert "Traceback" in caplog.text and "a bug" in caplog.text
    assert isinstance(program.run_batch([rows(13)], borrow=borrow)[0], InternalError)


def test_a_request_whose_check_raises_fails_alone() -> None:
    class Hostile:
        def __array__(self, *arguments: object, **options: object) -> np.ndarray:
            raise ZeroDivisionError("a bug")

    bad, fine = Program.load(moody()).run_batch([{"x": Hostile()}, rows(1)])
    assert isinstance(bad, InternalError)
    assert isinstance(fine, dict) and fine["y"].tolist() == [[1]]


def test_without_memory_for_the_result_only_that_request_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program.load(guests.wasm(guests.ADD))
    empty, asked = np.empty, []

    def scarce(shape: Any, *more: Any, **options: Any) -> np.ndarray:
        if tuple(shape)[:1] >= (MANY,):  # its own, or the joined one
            asked.append(shape)
            raise MemoryError
        array: np.ndarray = empty(shape, *more, **options)
        return array

    monkeypatch.setattr(np, "empty", scarce)
    for _ in range(3):  # the first time the outputs' shape is not known yet
        bad, fine = program.run_batch([outer((MANY,), (MANY,)), outer((2,), (2,))])
        assert isinstance(bad, InternalError) and isinstance(fine, dict)
    assert len(asked) == 6
    monkeypatch.undo()
    assert program.run(outer((MANY,), (MANY,)))["y"].shape == (MANY,)


def test_a_request_that_exceeds_the_memory_limit_fails_alone() -> None:
    program = Program.load(guests.echo(batch=8, dims=(-1,)), limits=Limits(max_memory_bytes=1 << 20))
    big, fine = program.run_batch([{"x": np.zeros((1, 1 << 20), np.float32)}, {"x": np.ones((1, 2), np.float32)}])
    assert isinstance(big, MemoryLimit) and isinstance(fine, dict)
