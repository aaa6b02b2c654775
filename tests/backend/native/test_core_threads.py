"""One program, many threads, whatever their stacks: each gets its own answer, and every call is counted once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from portalis.backend import GuestError, Program, Trap
from tests.backend import guests
from tests.backend.native.cores import F32, SHAPED, answer, core


@pytest.fixture(scope="module", autouse=True)
def _there_is_a_core() -> None:
    core()


# y is the 6 numbers of x, in rows of x[0]
ROWS = guests.dlpack(
    """(i64.store (i32.const 64) (i64.trunc_f32_u (f32.load (i32.load (local.get $in)))))
    (i64.store (i32.const 72) (i64.div_u (i64.const 6) (i64.load (i32.const 64))))"""
    + guests.ECHO_BODY.replace("(i32.const 0)", "(i32.store offset=20 (local.get $out) (i32.const 64)) (i32.const 0)")
    + "(i32.store offset=12 (local.get $out) (i32.const 2))",
    inputs=[guests.tensor("x")],
    outputs=[guests.tensor("y", dims=(-1, -1))],
)


def test_eight_threads_with_outputs_of_many_shapes_get_their_own_and_every_call_is_counted() -> None:
    """The inputs' shapes are always the same: what one thread learns of the outputs is wrong for the others."""
    with Program.load(SHAPED) as program, Program.load(guests.echo(batch=8)) as other:

        def work(number: int) -> None:
            rng = np.random.default_rng(number)
            for _ in range(150):
                size = int(rng.choice([1, 7, 4096]))  # few: what one thread wrote is often right by chance
                x = np.full(4096, size, F32)
                (y,) = program.run({"x": x}).values()
                assert y.shape == (size,)
                assert (y == size).all()
                assert answer(other, size) == [size] * 4

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
        counted, own = program.stats, program._runner._core.stats(program._runner._program)  # type: ignore[attr-defined]
        assert counted.calls == own.calls == other.stats.calls == 8 * 150
        assert 1 <= counted.instances == own.instances <= 8
        assert counted.traps == counted.timeouts == 0


def test_outputs_of_as_many_bytes_and_another_shape_have_their_own_shape() -> None:
    with Program.load(ROWS) as program:
        for rows in (2, 3, 1, 6, 2, 2):
            for borrow in (True, False, False):
                (result,) = program.run_batch([{"x": np.full(6, rows, F32)}], borrow=borrow)
                assert isinstance(result, dict), result
                assert result["y"].shape == (rows, 6 // rows)


@pytest.mark.parametrize("size", [128 << 10, 1 << 20, 4 << 20])
def test_threads_with_small_stacks_run_guests_that_use_a_large_one(size: int) -> None:
    deep = guests.when_asked(
        "(drop (call $deep (i32.const 1)))",
        "(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))",
    )
    found: list[object] = []

    def work(program: Program) -> None:
        for value in (0, 1, 0):
            (result,) = program.run_batch([{"x": np.full((1, 1), value, F32)}])
            found.append(result if isinstance(result, GuestError) else float(result["y"][0, 0]))  # type: ignore[index]

    with Program.load(deep) as program:
        before = threading.stack_size(size)
        try:
            threads = [threading.Thread(target=work, args=(program,)) for _ in range(4)]
            for thread in threads:
                thread.start()
        finally:
            threading.stack_size(before)
        for thread in threads:
            thread.join()
        traps = [each for each in found if isinstance(each, Trap) and "call stack exhausted" in str(each)]
        assert len(found) == 12
        assert len(traps) == 4
        assert found.count(0.0) == 8
        assert program.stats.traps == 4
