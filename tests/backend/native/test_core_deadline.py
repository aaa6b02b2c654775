"""A call's time runs while its tensors are read, on the core as in Python."""

from __future__ import annotations

import time

import numpy as np
import pytest

from portalis.backend import GuestTimeout, Limits, Program
from tests.backend import guests, host_guests
from tests.backend.guests import tensor
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.usefixtures("executor")

# sleeps for 0.5 s: a relative clock subscription at 256
SLEEPING = guests.wasm(
    f"""(module {host_guests.imports("poll_oneoff")} {guests.PRELUDE}
      (func (export "portalis_infer") (param $in i32) (param $nin i32) (param $out i32) (param $nout i32) (result i32)
        (i32.store (i32.const 272) (i32.const 1)) (i64.store (i32.const 280) (i64.const 500000000))
        (drop (call $poll_oneoff (i32.const 256) (i32.const 512) (i32.const 1) (i32.const 768))) {guests.ECHO_BODY}))""",
    {
        "entry": "portalis_infer",
        "convention": "dlpack",
        "max_batch_size": 8,
        "inputs": [tensor("x", "BYTES", (1,))],
        "outputs": [tensor("y", "BYTES", (1,))],
    },
)


class Slow:
    """An element that takes its time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __str__(self) -> str:
        time.sleep(self._seconds)
        return "slow"


def test_the_guest_has_what_is_left_after_its_elements_were_read() -> None:
    with (
        Program.load(SLEEPING, limits=Limits(timeout_s=0.8)) as program,
        pytest.raises(GuestTimeout, match="time limit of 0.8 s"),
    ):
        program.run({"x": np.array([[Slow(0.4)]], object)})
    with Program.load(SLEEPING, limits=Limits(timeout_s=PATIENCE_S)) as program:
        assert program.run({"x": np.array([[Slow(0)], [b"b"]], object)})["y"].tolist() == [[b"slow"], [b"b"]]


def test_joined_requests_have_one_deadline_that_runs_while_they_are_read() -> None:
    with Program.load(SLEEPING, limits=Limits(timeout_s=0.8)) as program:
        program.run_batch([{"x": np.array([[Slow(0.2)]], object)} for _ in range(2)])
        assert program.stats.timeouts >= 1  # joined; alone each has enough


def test_reading_an_output_ends_with_the_calls_time() -> None:
    many = 1 << 22  # bytes, of which each element takes four
    body = f"""(i32.store (local.get $out) (i32.const 65536)) (i64.store (i32.const 64) (i64.const {many}))
      (i32.store offset=20 (local.get $out) (i32.const 64)) (i32.store offset=12 (local.get $out) (i32.const 1)) (i32.const 0)"""
    wasm = guests.dlpack(
        f"(drop (memory.grow (i32.const 64))) {body}", inputs=[tensor("x")], outputs=[tensor("y", "BYTES")]
    )
    # the adapter counts the elements in the guest's time, which is longer than that on a busy machine
    late = (
        r"(reading the outputs took|the guest ran) longer than its time limit of 0.02 s and was stopped \(raise Limits"
    )
    with Program.load(wasm, limits=Limits(timeout_s=0.02)) as program, pytest.raises(GuestTimeout, match=late):
        program.run({"x": np.ones(1, np.float32)})
    with Program.load(wasm) as program:
        assert program.run({"x": np.ones(1, np.float32)})["y"].shape == (many // 4,)
