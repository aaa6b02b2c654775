"""Threads that wait for their own requests run the batches in turn; each request gets its own outcome."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import wasmtime

from portalis.backend import Program
from portalis.nim.service.request_errors import RequestError
from portalis.nim.service.scheduling.pending import NullMetrics, Outputs
from portalis.nim.service.scheduling.scheduler import Scheduler

from .test_scheduler import MOODY, SPIN, TRAP, HeldProgram, RecordedMetrics, x

LABEL: contextvars.ContextVar[str] = contextvars.ContextVar("label", default="")


class ObservedProgram(HeldProgram):
    """Records the thread of each batch, and the value of `LABEL` in it."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.threads: list[int] = []
        self.labels: list[str] = []

    def run_batch(self, requests: Any, **options: Any) -> Any:
        self.threads.append(threading.get_ident())
        self.labels.append(LABEL.get())
        return super().run_batch(requests, **options)


class Callers:
    """Threads that call a scheduler of a program that waits for `held.go` before each batch."""

    def __init__(self, program: Program, **options: Any) -> None:
        self.held = ObservedProgram(program)
        self.scheduler = Scheduler(self.held, **{"max_queued": 100, **options})  # type: ignore[arg-type]
        self.pool = ThreadPoolExecutor(16)

    def lead(self, value: float) -> Future[Any]:
        """A call that finds the program idle, once it runs."""
        call = self.pool.submit(self._call, value, None, {})
        assert self.held.began.acquire(timeout=10)
        return call

    def follow(self, value: float, **options: Any) -> tuple[Future[Any], Callable[[], None]]:
        """A call that waits, and the function that cancels it."""
        waits: Future[Callable[[], None]] = Future()

        def on_wait(cancel: Callable[[], None]) -> bool:
            waits.set_result(cancel)
            return True

        call = self.pool.submit(self._call, value, on_wait, options)
        return call, waits.result(10)

    def _call(self, value: float, on_wait: Callable[[Callable[[], None]], bool] | None, options: Any) -> Any:
        LABEL.set(f"caller {value:g}")
        try:
            outputs = self.scheduler.run_blocking(x(value), on_wait=on_wait, **options)
        except RequestError as error:
            return error
        return float(outputs["y"][0, 0])

    def close(self) -> None:
        self.held.go.release(1000)
        self.scheduler.close()
        self.pool.shutdown()


@pytest.fixture(scope="module")
def moody() -> Iterator[Program]:
    with Program.load(bytes(wasmtime.wat2wasm(MOODY)), limits=None) as program:
        yield program


@pytest.fixture
def callers(moody: Program) -> Iterator[Callers]:
    callers = Callers(moody)
    yield callers
    callers.close()


def test_threads_and_coroutines_get_their_own_outputs(moody: Program) -> None:
    metrics = RecordedMetrics()
    scheduler = Scheduler(moody, max_queued=1000, workers=3, metrics=metrics)

    def call(start: int) -> list[float]:
        return [float(scheduler.run_blocking(x(start + i))["y"][0, 0]) for i in range(100)]

    async def awaited(start: int) -> list[float]:
        return [float((await scheduler.run(x(start + i)))["y"][0, 0]) for i in range(100)]

    async def together() -> list[list[float]]:
        calls = [asyncio.to_thread(call, 1000 * i) for i in range(4)]
        return list(await asyncio.gather(*calls, *(awaited(1000 * i) for i in range(4, 8))))

    results = asyncio.run(together())
    assert results == [[2.0 * (1000 * start + i) for i in range(100)] for start in range(8)]
    assert sum(metrics.sizes) == scheduler.statistics.inference_count == 800
    assert scheduler.statistics.execution_count == len(metrics.sizes)
    scheduler.close()


def test_the_program_runs_in_the_thread_of_a_caller_that_finds_it_idle(moody: Program) -> None:
    callers = Callers(moody)
    callers.held.go.release(2)
    durations: list[float] = []
    for value in (1.0, 2.0):
        outputs = callers.scheduler.run_blocking(x(value), on_success=durations.append)
        assert float(outputs["y"][0, 0]) == 2 * value
    callers.close()
    assert callers.held.threads == [threading.get_ident()] * 2
    assert len(durations) == 2 and min(durations) > 0


def test_a_caller_works_for_one_batch_and_the_next_belongs_to_no_request_of_the_log(callers: Callers) -> None:
    first = callers.lead(1)
    others = [callers.follow(value)[0] for value in (2.0, TRAP, 3.0)]
    callers.held.go.release()
    assert first.result(10) == 2, "it does not wait for the others"
    callers.held.go.release()
    results = [each.result(10) for each in others]
    assert [results[0], results[1].kind, results[2]] == [4, "Trap", 6]
    assert len(set(callers.held.threads)) == len(callers.held.threads) == 2
    assert callers.held.labels == ["caller 1", ""]


def test_a_batch_of_a_caller_has_the_requests_of_coroutines(callers: Callers) -> None:
    first = callers.lead(1)
    second, _ = callers.follow(2)

    async def awaited() -> float:
        task = asyncio.ensure_future(callers.scheduler.run(x(3)))
        await asyncio.sleep(0)
        callers.held.go.release(2)
        return float((await task)["y"][0, 0])

    assert asyncio.run(awaited()) == 6
    assert [first.result(10), second.result(10)] == [2, 4]
    assert len(callers.held.threads) == 2


def test_a_worker_continues_if_only_coroutines_wait(callers: Callers) -> None:
    first = callers.lead(1)

    async def awaited() -> list[float]:
        tasks = [asyncio.ensure_future(callers.scheduler.run(x(value))) for value in (2.0, 3.0)]
        await asyncio.sleep(0)
        callers.held.go.release()
        assert await asyncio.to_thread(first.result, 10) == 2
        callers.held.go.release(2)
        return [float((await task)["y"][0, 0]) for task in tasks]

    assert asyncio.run(awaited()) == [4, 6]
    assert len(set(callers.held.threads)) == 2


def test_a_full_queue_refuses_callers(moody: Program) -> None:
    callers = Callers(moody, max_queued=2)
    first = callers.lead(1)
    others = [callers.follow(value)[0] for value in (2, 3)]
    with pytest.raises(RequestError, match="model 'model' has 2 waiting requests") as raised:
        callers.scheduler.run_blocking(x(4))
    assert raised.value.status == 429
    callers.held.go.release(3)
    assert [each.result(10) for each in (first, *others)] == [2, 4, 6]
    callers.close()


def test_a_follower_times_out_in_the_queue(callers: Callers) -> None:
    first = callers.lead(1)
    late, _ = callers.follow(2, timeout_s=0.001)
    in_time, _ = callers.follow(3, timeout_s=100)
    threading.Event().wait(0.01)
    callers.held.go.release(2)
    error = late.result(10)
    assert (error.status, error.kind) == (504, "Cancelled") and "0.001 s, before it was run" in error.message
    assert [first.result(10), in_time.result(10)] == [2, 6]
    with pytest.raises(RequestError, match="expected a positive number of seconds"):
        callers.scheduler.run_blocking(x(1), timeout_s=0)


class BrokenMetrics(NullMetrics):
    """Metrics that fail for batches of two requests."""

    def observe_batch(self, model: str, size: int, rows: int) -> None:
        if size == 2:
            raise RuntimeError("no memory for metrics")


def test_a_leader_that_fails_fails_its_batch_and_the_queue_goes_on(moody: Program) -> None:
    callers = Callers(moody, metrics=BrokenMetrics())
    first = callers.lead(1)
    others = [callers.follow(value)[0] for value in (2, 3)]
    callers.held.go.release(10)
    assert first.result(10) == 2
    assert [(error.status, error.kind) for error in (each.result(10) for each in others)] == [
        (500, "InternalServerError")
    ] * 2
    assert float(callers.scheduler.run_blocking(x(4))["y"][0, 0]) == 8
    callers.close()


def test_a_cancelled_follower_leaves_the_queue(moody: Program) -> None:
    callers = Callers(moody, max_queued=1)
    first = callers.lead(1)
    second, cancel = callers.follow(2)
    cancel()
    error = second.result(10)
    assert (error.status, error.kind) == (499, "Cancelled")
    with pytest.raises(RequestError) as raised:
        callers.scheduler.run_blocking(x(2), on_wait=lambda _: False)
    assert raised.value.status == 499
    third, cancel_third = callers.follow(3)
    callers.held.go.release(2)
    assert [first.result(10), third.result(10)] == [2, 6]
    cancel_third()  # has no effect any more
    callers.close()
    assert callers.scheduler.statistics.inference_count == 2


def test_a_follower_that_is_cancelled_while_it_runs_is_answered_at_once(callers: Callers) -> None:
    first = callers.lead(1)
    others = [callers.follow(value) for value in (2, 3)]
    callers.held.go.release()
    assert first.result(10) == 2
    assert callers.held.began.acquire(timeout=10)  # one of the others runs both
    others[1][1]()
    assert others[1][0].result(10).status == 499
    callers.held.go.release()
    assert others[0][0].result(10) == 4


def test_a_follower_that_is_cancelled_when_it_should_lead_still_runs_the_next_batch(callers: Callers) -> None:
    first = callers.lead(1)
    waits, continues = threading.Event(), threading.Event()
    cancels: list[Callable[[], None]] = []

    def on_wait(cancel: Callable[[], None]) -> bool:
        cancels.append(cancel)
        waits.set()
        return continues.wait(10)

    second = callers.pool.submit(callers._call, 2, on_wait, {})
    assert waits.wait(10)
    callers.held.go.release(2)
    assert first.result(10) == 2
    third, _ = callers.follow(3)
    cancels[0]()
    continues.set()
    assert third.result(10) == 6
    assert second.result(10).status == 499


def test_long_calls_of_callers_run_concurrently(moody: Program) -> None:
    callers = Callers(moody, workers=3)
    calls = [callers.lead(value) for value in (1, 2, 3)]
    waiting, _ = callers.follow(4)
    callers.held.go.release(4)
    assert [each.result(10) for each in (*calls, waiting)] == [2, 4, 6, 8]
    callers.close()


def test_closing_completes_the_requests_of_callers_that_wait(callers: Callers) -> None:
    first = callers.lead(1)
    others = [callers.follow(value)[0] for value in (2, 3)]

    async def closing() -> float:
        task = asyncio.ensure_future(callers.scheduler.run(x(4)))
        await asyncio.sleep(0)
        closed = asyncio.ensure_future(asyncio.to_thread(callers.scheduler.close))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(closed), 0.05)
        callers.held.go.release(10)
        await closed
        return float((await task)["y"][0, 0])

    assert asyncio.run(closing()) == 8
    assert [each.result(10) for each in (first, *others)] == [2, 4, 6]
    with pytest.raises(RequestError, match="the service is shutting down"):
        callers.scheduler.run_blocking(x(5))
    assert callers.scheduler.try_run(x(5)) is None


def test_closing_waits_for_callers_no_longer_than_its_timeout(callers: Callers) -> None:
    first = callers.lead(1)
    callers.scheduler.close(0.01)
    callers.held.go.release()
    assert first.result(10) == 2


def test_a_short_call_runs_at_once_if_the_program_is_idle(moody: Program) -> None:
    scheduler = Scheduler(moody, max_queued=10)
    assert scheduler.try_run(x(1)) is None, "the first call can be a long one"
    scheduler.run_blocking(x(1))
    durations: list[float] = []
    outputs = run_directly(scheduler, 2, on_success=durations.append)
    assert float(outputs["y"][0, 0]) == 4 and len(durations) == 1
    with pytest.raises(RequestError, match="trap"):
        run_directly(scheduler, TRAP)
    run_directly(scheduler, 1)
    with pytest.raises(RequestError, match="expected a positive number of seconds"):
        run_directly(scheduler, 1, timeout_s=-1)
    durations_by_kind = scheduler.statistics.durations
    assert durations_by_kind["success"].count == scheduler.statistics.inference_count
    assert durations_by_kind["fail"].count == 1
    scheduler.close()


def run_directly(scheduler: Scheduler, value: float, **options: Any) -> Outputs:
    """The outputs of a call that runs at once, after calls that were longer, as they are now and then."""
    while (outputs := scheduler.try_run(x(value), **options)) is None:
        scheduler.run_blocking(x(1))
    return outputs


def test_a_direct_call_that_takes_long_is_interrupted_and_not_counted(moody: Program) -> None:
    metrics = RecordedMetrics()
    scheduler = Scheduler(moody, max_queued=10, metrics=metrics)
    run_directly(scheduler, 1)
    began, counted = time.monotonic(), scheduler.statistics.durations["success"].count
    assert scheduler.try_run(x(SPIN)) is None
    assert time.monotonic() - began < moody.limits.timeout_s / 2
    assert scheduler.try_run(x(1)) is None, "the program might take long again"
    assert (scheduler.statistics.durations["success"].count, metrics.kinds) == (counted, [])
    run_directly(scheduler, 1)
    with pytest.raises(RequestError, match="0.005"):
        run_directly(scheduler, SPIN, guest_timeout_s=0.005)
    assert metrics.kinds == ["GuestTimeout"]
    scheduler.close()


def test_a_program_that_keeps_state_never_runs_directly() -> None:
    with Program.load(bytes(wasmtime.wat2wasm(MOODY)), isolation="instance") as program:
        scheduler = Scheduler(program, max_queued=10)
        for _ in range(20):
            scheduler.run_blocking(x(1))
            assert scheduler.try_run(x(1)) is None
        scheduler.close()


def test_a_call_does_not_run_at_once_while_another_runs_or_was_long(callers: Callers) -> None:
    callers.held.go.release(2)
    callers.scheduler.run_blocking(x(1))
    callers.scheduler.run_blocking(x(1))
    callers.held.began.acquire()
    callers.held.began.acquire()
    first = callers.lead(1)
    assert callers.scheduler.try_run(x(2)) is None
    threading.Event().wait(0.01)
    callers.held.go.release()
    assert first.result(10) == 2
    assert callers.scheduler.try_run(x(2)) is None, "the last call took longer than a short one"


def test_outputs_do_not_change_when_other_requests_follow(moody: Program) -> None:
    scheduler = Scheduler(moody, max_queued=10)
    results = [scheduler.run_blocking(x(value))["y"] for value in range(4)]
    assert [float(result[0, 0]) for result in results] == [0, 2, 4, 6]
    assert all(np.all(result == result[0, 0]) for result in results)
    scheduler.close()
