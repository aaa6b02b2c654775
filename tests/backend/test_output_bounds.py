"""Outputs of a guest are bounded: bytes, elements, lines, and the time of the host within the call's deadline."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from portalis.backend import GuestError, GuestTimeout, Limits, Program
from tests.backend import guests, host_guests
from tests.backend.guests import tensor
from tests.backend.host_guests import bytes_flood

X = {"x": np.ones(1, np.float32)}
pytestmark = pytest.mark.usefixtures("executor")
ISOLATIONS = ["request", "batch", "instance"]


@pytest.fixture(autouse=True)
def _the_same_process_serves_on() -> Any:
    yield
    assert Program.load(guests.echo()).run(X)["y"].tolist() == [1]


@pytest.mark.parametrize("element", [b"", b"ab"])
def test_too_many_elements_are_rejected_before_they_are_created(element: bytes) -> None:
    program = Program.load(bytes_flood(32, element))
    began = time.process_time()
    with pytest.raises(
        GuestError, match=r"output 'y' has more than 1048576 elements, its limit \(raise Limits.max_bytes_elements"
    ):
        program.run(X)
    assert time.process_time() - began < 10  # reading all of them takes twenty times as long


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("borrow", [False, True])
def test_reading_bytes_ends_at_the_deadline_of_the_call(isolation: str, borrow: bool) -> None:
    for limit_s in (0.2, 0.4, 0.8, 1.6):
        limits = Limits(timeout_s=limit_s, max_bytes_elements=10**9)
        program = Program.load(bytes_flood(64), limits=limits, isolation=isolation)
        began = time.process_time()
        (error,) = program.run_batch([X], borrow=borrow)
        assert isinstance(error, GuestTimeout)
        assert time.process_time() - began < 3  # to the end it takes 8 s
        assert program.stats.timeouts == 1
        if f"reading the outputs took longer than its time limit of {limit_s:g} s" in str(error):
            break  # otherwise the guest itself was late
    else:
        pytest.fail(str(error))


def test_reading_bytes_on_the_fast_path_ends_at_the_deadline_of_the_current_call() -> None:
    program = Program.load(bytes_flood(1), isolation="instance")
    for _ in range(3):
        (answer,) = program.run_batch([X], borrow=True)
        assert isinstance(answer, dict) and answer["y"].shape == (1 << 18,)
    assert program.stats.instances == 1
    (late,) = program.run_batch([X], borrow=True, timeouts_s=[0.01])
    assert isinstance(late, GuestTimeout)


def known(elements: int, declared: tuple[int, ...], logical: tuple[int, ...] | None) -> bytes:
    shape = ""
    if logical:
        shape = f"(i32.store offset=24 (local.get $out) (i32.const 88)) (i64.store (i32.const 88) (i64.const {len(logical)}))"
        shape += "".join(f"(i64.store (i32.const {96 + 8 * i}) (i64.const {n}))" for i, n in enumerate(logical))
    body = f"""(drop (memory.grow (i32.const 65))) (i32.store (local.get $out) (i32.const 65536))
      (i32.store offset=12 (local.get $out) (i32.const 1)) (i32.store offset=20 (local.get $out) (i32.const 80))
      (i64.store (i32.const 80) (i64.const {4 * elements})) {shape} (i32.const 0)"""
    return guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y", "BYTES", declared)])


@pytest.mark.parametrize(("declared", "logical"), [((-1,), (3,)), ((3,), None), ((-1, 3), (1, 3))])
def test_elements_beyond_the_shape_are_not_created(
    declared: tuple[int, ...], logical: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise AssertionError("the elements were made")

    for executor in ("python_executor", "core_executor"):
        monkeypatch.setattr(f"portalis.backend.executor.{executor}.deserialize", none)
    with pytest.raises(GuestError, match="has more than 3 elements, but its shape is"):
        Program.load(known(1 << 20, declared, logical)).run(X)


def test_a_shape_of_more_elements_than_the_limit_is_named() -> None:
    limits = Limits(max_bytes_elements=1000)
    with pytest.raises(GuestError, match="more than 1000 elements, its limit"):
        Program.load(known(5000, (5000,), None), limits=limits).run(X)
    assert Program.load(known(1000, (1000,), None), limits=limits).run(X)["y"].tolist() == [b""] * 1000


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_the_bytes_of_all_outputs_together_have_a_limit(isolation: str) -> None:
    # three outputs in the same memory
    one = """(i32.store offset={0} (local.get $out) (i32.const 65536)) (i32.store offset={1} (local.get $out) (i32.const 1))
      (i32.store offset={2} (local.get $out) (i32.const 64))"""
    body = "(drop (memory.grow (i32.const 20))) (i64.store (i32.const 64) (i64.const 1000000))"
    body += "".join(one.format(at, at + 12, at + 20) for at in (0, 40, 80)) + "(i32.const 0)"
    module = guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor(name, "INT8") for name in ("a", "b", "c")])
    assert (
        len(Program.load(module, limits=Limits(max_tensor_bytes=3_000_000), isolation=isolation).run(X)["c"]) == 10**6
    )
    with pytest.raises(
        GuestError,
        match=r"the outputs have 3000000 bytes, more than the limit of 2999999 \(raise Limits.max_tensor_bytes",
    ):
        Program.load(module, limits=Limits(max_tensor_bytes=2_999_999), isolation=isolation).run(X)


def test_lines_of_the_log_are_limited() -> None:
    body = f"""(memory.fill (i32.const 65536) (i32.const 10) (i32.const 60000))
      (i32.store (i32.const 0) (i32.const 65536)) (i32.store (i32.const 4) (i32.const 60000))
      (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))) {guests.ECHO_BODY}"""
    module = host_guests.model(f"(drop (memory.grow (i32.const 1))) {body}", "fd_write")
    seen: list[str] = []
    Program.load(module, on_output=lambda _, line: seen.append(line)).run(X)
    assert len(seen) == 1001
    assert seen[-1] == "... 59000 more lines were dropped (at most 1000 are kept)"


# -- BOOL --------------------------------------------------------------------------------------------------------------

RAW = np.array([0, 1, 2, 128, 255], np.uint8)
TRUTH = [0, 1, 1, 1, 1]


def is_clean(array: np.ndarray) -> bool:
    return bool(array.dtype == np.bool_) and array.view(np.uint8).ravel().tolist() == TRUTH


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("borrow", [False, True])
def test_a_tensor_s_bool_is_0_or_1(isolation: str, borrow: bool) -> None:
    module = guests.dlpack(guests.ECHO_BODY, inputs=[tensor("x", "UINT8")], outputs=[tensor("y", "BOOL")])
    program = Program.load(module, isolation=isolation)
    for raw, truth in ((RAW, TRUTH), (RAW % 2, [0, 1, 0, 0, 1]), (RAW, TRUTH)):
        (answer,) = program.run_batch([{"x": raw}], borrow=borrow)
        assert isinstance(answer, dict)
        assert answer["y"].view(np.uint8).tolist() == truth


COPY = """(module (memory (export "memory") 1)
  (func (export "copy") (param $x i32) (param $y i32) (param $n i32)
    (memory.copy (local.get $y) (local.get $x) (local.get $n)))
  (func (export "first") (param $x i32) (param $n i32) (result i32) (i32.load8_u (local.get $x))))"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("borrow", [False, True])
def test_a_kernel_s_bool_is_0_or_1(borrow: bool, threads: int) -> None:
    described = {
        "entry": "copy",
        "convention": "gufunc",
        "signature": "(n)->(n)",
        "max_batch_size": 8,
        "inputs": [tensor("x", "UINT8")],
        "outputs": [tensor("y", "BOOL")],
    }
    with Program.load(guests.wasm(COPY, described), threads=threads, isolation="instance") as program:
        for _ in range(3):
            (answer,) = program.run_batch([{"x": RAW[None]}], borrow=borrow)
            assert isinstance(answer, dict) and is_clean(answer["y"])


def test_a_bool_that_a_kernel_returns_is_0_or_1() -> None:
    described = {
        "entry": "first",
        "convention": "gufunc",
        "signature": "(n)->()",
        "inputs": [tensor("x", "UINT8")],
        "outputs": [tensor("y", "BOOL", dims=())],
    }
    assert is_clean(Program.load(guests.wasm(COPY, described)).run({"x": RAW[:, None]})["y"])


@pytest.mark.parametrize("size", [5, 300_000])
def test_a_bool_of_numbers_is_0_or_1(size: int) -> None:
    text = '(module (func (export "f") (param i32) (result i32) (local.get 0)))'
    described = {
        "entry": "f",
        "convention": "elementwise",
        "inputs": [tensor("x", "UINT8")],
        "outputs": [tensor("y", "BOOL")],
    }
    x = np.resize(RAW, size)
    answer = Program.load(guests.wasm(text, described)).run({"x": x})["y"]
    np.testing.assert_array_equal(answer.view(np.uint8), x != 0)
