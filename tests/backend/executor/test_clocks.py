"""WASI's clocks, sleep and random bytes: one clock for all, and the deadline of the call applies to host functions."""

from __future__ import annotations

import itertools
import re
import struct
import threading
import time
import types
from typing import Any

import numpy as np
import pytest

from portalis.backend import GuestError, GuestStatus, GuestTimeout, Limits, Program, Trap
from portalis.backend.compile import engine
from portalis.backend.executor import host_state, wasi
from tests.backend import guests, host_guests
from tests.backend.guests import tensor
from tests.backend.host_guests import MONOTONIC, REALTIME, model, program, sleep, sleeper, subscribe
from tests.backend.limits import in_time, not_late
from tests.running import waiting

pytestmark = pytest.mark.usefixtures("executor")

RUN = {"stdin": np.array([[b""]], dtype=object)}
X = {"x": np.ones(1, np.float32)}
SHORT = Limits(timeout_s=0.05)
HOUR_MS = 3_600_000
LATE = r"longer than its time limit of 0\.05 s"


@pytest.fixture(autouse=True)
def _the_same_process_serves_on() -> Any:
    yield
    other = Program.load(guests.wasm(guests.ADD))
    assert list(other.run({"a": np.float32(1), "b": np.float32(2)}).values()) == [3]


def a_clock(**functions: Any) -> Any:
    """The module `time` with other `functions`, for one module of the runtime alone."""
    return types.SimpleNamespace(**{**vars(time), **functions})


def output(module: bytes, limits: Limits | None = None) -> bytes:
    out: bytes = Program.load(module, limits=limits).run(RUN)["stdout"].item()
    return out


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("clock", [MONOTONIC, REALTIME])
def test_a_guest_sleeps_as_long_as_it_asks_by_either_clock(clock: int, absolute: bool) -> None:
    began = time.monotonic_ns()
    (slept,) = struct.unpack("<q", output(sleeper(80, clock=clock, absolute=absolute)))
    took = time.monotonic_ns() - began
    assert took >= 80_000_000
    if clock == MONOTONIC:  # the realtime clock can be set during the test
        assert 80_000_000 <= slept <= took


@pytest.mark.parametrize(("clock", "milliseconds"), [(MONOTONIC, 0), (REALTIME, 0), (REALTIME, -HOUR_MS)])
def test_a_time_in_the_past_does_not_sleep(clock: int, milliseconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(wasi, "time", a_clock(sleep=slept.append))
    output(sleeper(milliseconds, clock=clock, absolute=True))
    assert slept == []


def test_the_first_clock_subscription_ends_the_sleep_and_only_it_fires() -> None:
    body = f"""{subscribe(1024, HOUR_MS, tag=7)} {subscribe(1072, 30, absolute=True, tag=8)} {subscribe(1120, HOUR_MS, clock=REALTIME, tag=9)}
      (drop (call $poll_oneoff (i32.const 1024) (i32.const 2048) (i32.const 3) (i32.const 2040)))
      (i32.store (i32.const 0) (i32.const 2040)) (i32.store (i32.const 4) (i32.const 16))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"""
    out = output(program(body, "clock_time_get", "poll_oneoff", "fd_write"))
    assert struct.unpack("<I4xQ", out) == (1, 8)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("clock", [MONOTONIC, REALTIME])
@pytest.mark.parametrize("milliseconds", [50, 500, HOUR_MS])
def test_a_sleep_past_the_time_limit_is_a_timeout(milliseconds: int, clock: int, absolute: bool) -> None:
    run = Program.load(sleeper(milliseconds, clock=clock, absolute=absolute), limits=SHORT)
    with pytest.raises(GuestTimeout, match=LATE):
        run.run(RUN)
    assert run.stats.timeouts == 1


SLEEPS = f"(func $sleeps {sleep(HOUR_MS)})"
WASI = ("clock_time_get", "poll_oneoff", "proc_exit")


@pytest.mark.parametrize("where", ["(start $sleeps)", '(export "_initialize" (func $sleeps))'])
@pytest.mark.parametrize("isolation", ["request", "batch", "instance"])
def test_a_sleep_before_the_entry_is_a_timeout_of_the_call(where: str, isolation: str) -> None:
    module = model(guests.ECHO_BODY, *WASI, more=SLEEPS + where)
    with pytest.raises(GuestTimeout, match=LATE):
        Program.load(module, limits=SHORT, isolation=isolation).run(X)


@pytest.mark.parametrize(
    "then", ["unreachable", "(call $proc_exit (i32.const 0))", "(return (i32.const 5))", "", "(call $sleeps)"]
)
def test_a_guest_that_exceeds_its_deadline_in_a_host_function_times_out(then: str) -> None:
    """It can trap, exit, fail or succeed afterwards: the code after the host function cannot be interrupted."""
    for module, inputs in (
        (model(f"{sleep(HOUR_MS)} {then} {guests.ECHO_BODY}", *WASI, more=SLEEPS), X),
        (program(f"{sleep(HOUR_MS)} {then.replace('(i32.const 5)', '')}", *WASI, more=SLEEPS), RUN),
    ):
        with Program.load(module, limits=SHORT) as late:
            with pytest.raises(GuestTimeout, match=LATE):
                late.run(inputs)
            assert (late.stats.timeouts, late.stats.traps) == (1, 0)


def test_every_call_of_a_kept_instance_has_its_own_deadline() -> None:
    # calls of equal shapes take the fast path from the second one on
    module = model(f"{sleep(30)} {guests.ECHO_BODY}", *WASI)
    kept = Program.load(module, limits=Limits(timeout_s=60), isolation="instance")
    for _ in range(4):
        (answer,) = kept.run_batch([X], borrow=True)
        assert isinstance(answer, dict), answer
    assert kept.stats.instances == 1
    (late,) = kept.run_batch([X], borrow=True, timeouts_s=[0.01])
    assert isinstance(late, GuestTimeout)


@pytest.mark.parametrize(
    ("fails", "kind", "message"),
    [("(i32.const 3)", GuestStatus, "returned status 3"), ("unreachable", Trap, "unreachable")],
)
@pytest.mark.parametrize(
    ("explains", "why"),
    [
        (f"{sleep(HOUR_MS)} (i32.const 0)", "longer than its time limit"),
        (
            "(call $proc_exit (i32.const 9)) (i32.const 0)",
            "the guest exited with code 9 instead of returning",
        ),
        ("(loop $l (br $l)) (i32.const 0)", "longer than its time limit"),
        ("unreachable", "unreachable"),
    ],
)
@pytest.mark.parametrize("borrow", [False, True])
def test_a_failing_portalis_error_does_not_hide_the_original_failure(
    fails: str, kind: type[GuestError], message: str, explains: str, why: str, borrow: bool
) -> None:
    more = f'(func (export "portalis_error") (result i32) {explains})'
    # the third call fails, on the fast path where outputs are borrowed
    body = (
        f"(if (f32.ne (f32.load (i32.load (local.get $in))) (f32.const 1)) (then (return {fails}))) {guests.ECHO_BODY}"
    )

    def check(limit_s: float) -> None:
        run = Program.load(model(body, *WASI, more=more), limits=Limits(timeout_s=limit_s), isolation="instance")
        for _ in range(2):
            assert isinstance(not_late(run.run_batch([X], borrow=borrow)[0]), dict)
        (answer,) = run.run_batch([{"x": np.zeros(1, np.float32)}], borrow=borrow)
        assert type(not_late(answer)) is kind
        assert message in str(answer) and "portalis_error failed: " in str(answer) and why in str(answer)

    in_time(check, 0.1)


def test_an_unterminated_message_is_truncated() -> None:
    more = """(func (export "portalis_error") (result i32)
      (drop (memory.grow (i32.const 100))) (memory.fill (i32.const 65536) (i32.const 65) (i32.const 6553600)) (i32.const 65536))"""
    with pytest.raises(GuestStatus) as caught:
        Program.load(model("(i32.const 3)", more=more)).run(X)
    assert re.search(r"status 3: A{2000,}\n.*omitted.*\nA+$", str(caught.value)) and len(str(caught.value)) <= 4096


@pytest.mark.parametrize("size", [1, 100, (1 << 20) + 5])
def test_random_bytes_fill_exactly_the_requested_range(size: int) -> None:
    body = f"""(drop (call $random_get (i32.const 65536) (i32.const {size})))
      (i32.store (i32.const 0) (i32.const 65535)) (i32.store (i32.const 4) (i32.const {size + 2}))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"""
    module = program(body, "random_get", "fd_write", pages=20)
    first, second = output(module), output(module)
    assert len(first) == size + 2 and first[0] == first[-1] == 0
    assert size < 100 or first != second
    assert size < 1000 or len(set(first)) == 256


def test_random_bytes_without_an_end_stop_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    module = program("(drop (call $random_get (i32.const 0) (i32.const 134217728)))", "random_get", pages=2048)

    def check(limit_s: float) -> None:
        made: list[int] = []

        def slow(size: int) -> bytes:
            made.append(size)
            time.sleep(0.4 * limit_s)
            return bytes(size)

        monkeypatch.setattr(wasi, "os", types.SimpleNamespace(urandom=slow))
        with pytest.raises(GuestTimeout, match=f"longer than its time limit of {limit_s:g} s") as caught:
            Program.load(module, limits=Limits(timeout_s=limit_s)).run(RUN)
        if not made:
            raise caught.value  # the deadline had passed before the first request
        assert len(made) <= 4 and max(made) <= 1 << 20

    in_time(check, 0.05)


@pytest.mark.parametrize(
    ("call", "errno"),
    [
        ("(call $clock_time_get (i32.const 2) (i64.const 1) (i32.const 8))", 8),
        ("(call $clock_time_get (i32.const 3) (i64.const 1) (i32.const 8))", 8),
        ("(call $clock_time_get (i32.const 4) (i64.const 1) (i32.const 8))", 28),
        ("(call $clock_time_get (i32.const 1) (i64.const 1) (i32.const -4))", 21),
        ("(call $clock_res_get (i32.const 1) (i32.const 8))", 0),
        ("(call $clock_res_get (i32.const 2) (i32.const 8))", 8),
        ("(call $clock_res_get (i32.const 0) (i32.const -1))", 21),
        ("(call $random_get (i32.const 131000) (i32.const 100))", 21),
        ("(call $random_get (i32.const -1) (i32.const -1))", 21),
        ("(call $random_get (i32.const 131072) (i32.const 0))", 0),
        ("(call $poll_oneoff (i32.const 1024) (i32.const -8) (i32.const 1) (i32.const 8))", 21),
    ],
)
def test_invalid_arguments_return_an_errno(call: str, errno: int) -> None:
    names = ("clock_time_get", "clock_res_get", "random_get", "poll_oneoff", "proc_exit")
    module = program(f"{subscribe(1024, HOUR_MS)} (call $proc_exit {call})", *names)
    assert Program.load(module, limits=Limits(timeout_s=60)).run(RUN)["exit_code"].item() == errno


@pytest.mark.parametrize("clock", [2, 3, 4, 1 << 31])
def test_a_sleep_with_an_unsupported_clock_is_invalid(clock: int) -> None:
    body = f"""{subscribe(1024, 1, clock=clock)}
      (call $proc_exit (call $poll_oneoff (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 8)))"""
    module = program(body, "poll_oneoff", "proc_exit")
    assert Program.load(module).run(RUN)["exit_code"].item() == 28


def test_a_host_function_past_the_deadline_ends_the_call_and_does_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    # straight code has no loop at which wasmtime could interrupt it
    now = itertools.count(time.monotonic())
    monkeypatch.setattr(host_state, "time", a_clock(monotonic=now.__next__))
    write = "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
    module = program(f"(i32.store (i32.const 4) (i32.const 1)) {write * 100}", "fd_write")
    run = Program.load(module, limits=Limits(timeout_s=5))
    with pytest.raises(GuestTimeout):
        run.run(RUN)
    assert next(now) < time.monotonic() + 100


def test_errors_of_host_functions_stay_with_their_own_call() -> None:
    late, fine = Program.load(sleeper(HOUR_MS), limits=SHORT), Program.load(sleeper(1))
    wrong: list[object] = []

    def run(program: Program, expected: type[GuestError] | None) -> None:
        for _ in range(10):
            try:
                program.run(RUN)
                wrong.extend([] if expected is None else ["no error"])
            except GuestError as error:
                wrong.extend([] if type(error) is expected else [error])

    threads = [threading.Thread(target=run, args=a) for a in ((late, GuestTimeout), (fine, None), (fine, None))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_interrupt_during_a_sleep_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(wasi, "time", a_clock(sleep=interrupted))
    with pytest.raises(KeyboardInterrupt):
        Program.load(sleeper(10)).run(RUN)


def test_a_guest_without_a_memory_gets_errnos() -> None:
    call = "(if (i32.ne (call $random_get (i32.const 0) (i32.const 1)) (i32.const 21)) (then unreachable))"
    text = f'(module {host_guests.imports("random_get")} (func (export "_start") {call}))'
    assert Program.load(guests.wasm(text)).run(RUN)["exit_code"].item() == 0


def test_the_tensors_of_a_sleeping_model_are_correct() -> None:
    module = model(f"{sleep(5)} {guests.ECHO_BODY}", *WASI, inputs=[tensor("x")], outputs=[tensor("y")])
    x = np.arange(9, dtype=np.float32)
    np.testing.assert_array_equal(Program.load(module).run({"x": x})["y"], x)


def test_deadlines_shortly_before_the_ticker_stops_are_enforced(monkeypatch: pytest.MonkeyPatch) -> None:
    # without its last ticks, a guest would run forever
    monkeypatch.setattr(engine, "SLACK_S", 0.2)

    class Ticked:
        last = 0.0

        def increment_epoch(self) -> None:
            self.last = time.monotonic()

    ticker, ticked = engine.Ticker(), Ticked()
    ticker.add(ticked)  # type: ignore[arg-type]
    began = time.monotonic()
    ticker.ticks_until(began + 0.3)  # the ticker would stop at 0.5 s
    ticker.ticks_until(began + 0.49)  # and the ticks for this one come until 0.52 s
    waiting.until(lambda: ticked.last >= began + 0.52)


def test_a_deadline_that_is_set_while_the_ticker_is_late_does_not_come_early(monkeypatch: pytest.MonkeyPatch) -> None:
    # on a busy machine a tick is late, and advances the epoch by all missed ticks
    on_time, sleep_s = threading.Event(), time.sleep

    def a_late_sleep(seconds: float) -> None:
        on_time.wait(waiting.PATIENCE_S)
        sleep_s(seconds)

    monkeypatch.setattr(engine, "time", a_clock(sleep=a_late_sleep))

    class Epoch:
        count = 0

        def increment_epoch(self) -> None:
            self.count += 1

    ticker, epoch = engine.Ticker(), Epoch()
    ticker.add(epoch)  # type: ignore[arg-type]
    ticker.ticks_until(time.monotonic() + 1)
    time.sleep(0.3)
    deadline = time.monotonic() + 0.2
    ticks = ticker.ticks_until(deadline)
    assert epoch.count == 0
    on_time.set()
    waiting.until(lambda: epoch.count >= ticks)
    assert time.monotonic() >= deadline
