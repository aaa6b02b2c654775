"""Requests that wait run together; each gets its own outputs, and no accepted request is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import wasmtime

from portalis.backend import Program
from portalis.examples.catalog import EXAMPLES
from portalis.nim.service.request_errors import RequestError
from portalis.nim.service.scheduling.pending import NullMetrics
from portalis.nim.service.scheduling.scheduler import Scheduler

# returns twice its input; negative numbers trap, numbers greater than a million never end
MOODY = """(module (func (export "moody") (param $x f32) (result f32)
  (if (f32.lt (local.get $x) (f32.const 0)) (then unreachable))
  (if (f32.gt (local.get $x) (f32.const 1e6)) (then (loop br 0)))
  (f32.mul (local.get $x) (f32.const 2))))"""
TRAP, SPIN = -1.0, 1e7


class RecordedMetrics(NullMetrics):
    """Records the sizes of batches and the kinds of failures."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.kinds: list[str] = []

    def observe_batch(self, model: str, size: int, rows: int) -> None:
        self.sizes.append(size)

    def count_failure(self, model: str, kind: str) -> None:
        self.kinds.append(kind)


class HeldProgram:
    """A program that waits for `go` before each batch, as if its guest were busy."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.interface, self.isolation = program.interface, program.isolation
        self.go, self.began = threading.Semaphore(0), threading.Semaphore(0)

    def run_batch(self, requests: Any, **options: Any) -> Any:
        self.began.release()
        self.go.acquire()
        return self._program.run_batch(requests, **options)


@pytest.fixture(scope="module")
def softmax() -> Iterator[Program]:
    with Program.load(EXAMPLES["softmax"].module) as program:
        yield program


@pytest.fixture(scope="module")
def moody() -> Iterator[Program]:
    with Program.load(bytes(wasmtime.wat2wasm(MOODY)), limits=None) as program:
        yield program


def x(value: float, rows: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.full((rows, 4), value, dtype=np.float32)}


async def submitted() -> None:
    """Wait until the scheduler has the requests of tasks that were just created, and of tasks that these create."""
    for _ in range(3):
        await asyncio.sleep(0)


async def outcomes(scheduler: Scheduler, requests: list[Any], **options: Any) -> list[Any]:
    return list(await asyncio.gather(*(scheduler.run(each, **options) for each in requests), return_exceptions=True))


def test_concurrent_requests_run_together_and_each_gets_its_own_outputs(softmax: Program) -> None:
    metrics = RecordedMetrics()
    scheduler = Scheduler(softmax, max_queued=1000, metrics=metrics)
    rng = np.random.default_rng(1)
    requests = [{"x": rng.normal(size=(1 + i % 3, 8)).astype(np.float32)} for i in range(300)]

    async def together() -> list[Any]:
        results = []
        for _ in range(3):  # repeated shapes take the fast path
            results = await outcomes(scheduler, requests)
        return results

    results = asyncio.run(together())
    scheduler.close()
    for request, result in zip(requests, results, strict=True):
        np.testing.assert_allclose(result["y"], EXAMPLES["softmax"].reference(request)["y"], rtol=1e-5)
    assert sum(metrics.sizes) == 900
    assert len(metrics.sizes) < 300
    assert scheduler.statistics.inference_count == sum(len(each["x"]) for each in requests) * 3
    assert scheduler.statistics.execution_count == len(metrics.sizes)


def test_outputs_do_not_change_when_other_requests_follow(softmax: Program) -> None:
    scheduler = Scheduler(softmax, max_queued=10)

    async def sequentially() -> list[np.ndarray]:
        return [(await scheduler.run({"x": np.eye(1, 4, i, dtype=np.float32)}))["y"] for i in range(4)]

    results = asyncio.run(sequentially())
    scheduler.close()
    assert [int(result.argmax()) for result in results] == [0, 1, 2, 3]


def test_a_trap_and_an_invalid_input_fail_their_own_requests_only(moody: Program) -> None:
    metrics = RecordedMetrics()
    held = HeldProgram(moody)
    scheduler = Scheduler(held, max_queued=100, metrics=metrics)  # type: ignore[arg-type]
    bad = {"x": np.zeros((1, 4))}
    requests = [x(0), x(1), x(TRAP), bad, {}, x(2)]

    async def together() -> list[Any]:
        first = asyncio.ensure_future(scheduler.run(requests[0]))
        await asyncio.to_thread(held.began.acquire)
        task = asyncio.ensure_future(outcomes(scheduler, requests[1:]))
        await submitted()
        held.go.release(2)
        return [await first, *await task]

    results = asyncio.run(together())
    scheduler.close()
    assert metrics.sizes == [1, 5], "the requests that came while the first one ran are one batch"
    assert [float(results[i]["y"][0, 0]) for i in (0, 1, 5)] == [0, 2, 4]
    assert [(results[i].status, results[i].kind) for i in (2, 3, 4)] == [
        (500, "Trap"),
        (400, "InputError"),
        (400, "InputError"),
    ]
    assert sorted(metrics.kinds) == ["InputError", "InputError", "Trap"]


def test_a_full_queue_refuses_with_429_and_the_other_requests_succeed(moody: Program) -> None:
    held = HeldProgram(moody)
    scheduler = Scheduler(held, max_queued=3)  # type: ignore[arg-type]

    async def too_many() -> list[Any]:
        first = asyncio.ensure_future(scheduler.run(x(0)))
        await asyncio.to_thread(held.began.acquire)
        task = asyncio.ensure_future(outcomes(scheduler, [x(i) for i in range(1, 6)]))
        await submitted()
        held.go.release(10)
        return [await first, *await task]

    results = asyncio.run(too_many())
    scheduler.close()
    refused = [each for each in results if isinstance(each, RequestError)]
    assert [(each.status, each.kind) for each in refused] == [(429, "TooManyRequestsError")] * 2
    assert [float(each["y"][0, 0]) for each in results[:4]] == [0, 2, 4, 6]


def test_a_cancelled_request_is_not_run_and_leaves_the_queue(moody: Program) -> None:
    metrics = RecordedMetrics()
    held = HeldProgram(moody)
    scheduler = Scheduler(held, max_queued=1, metrics=metrics)  # type: ignore[arg-type]

    async def cancel_one() -> Any:
        first = asyncio.ensure_future(scheduler.run(x(0)))
        await asyncio.to_thread(held.began.acquire)
        second = asyncio.ensure_future(scheduler.run(x(1)))
        await submitted()
        second.cancel()
        await asyncio.wait([second])
        third = asyncio.ensure_future(scheduler.run(x(2)))
        await submitted()
        held.go.release(10)
        await first
        return await third

    assert float(asyncio.run(cancel_one())["y"][0, 0]) == 4
    scheduler.close()
    assert metrics.sizes == [1, 1]


def test_a_timeout_includes_the_time_in_the_queue(moody: Program) -> None:
    held = HeldProgram(moody)
    scheduler = Scheduler(held, max_queued=10)  # type: ignore[arg-type]

    async def late() -> list[Any]:
        first = asyncio.ensure_future(scheduler.run(x(0)))
        await asyncio.to_thread(held.began.acquire)
        others = asyncio.ensure_future(
            asyncio.gather(scheduler.run(x(1), timeout_s=0.01), scheduler.run(x(2)), return_exceptions=True)
        )
        await submitted()
        await asyncio.sleep(0.02)
        held.go.release(10)
        return [await first, *await others]

    _, expired, successful = asyncio.run(late())
    assert (expired.status, expired.kind) == (504, "Cancelled") and "0.01 s" in expired.message
    assert float(successful["y"][0, 0]) == 4
    [spinning] = asyncio.run(outcomes(Scheduler(moody, max_queued=1), [x(SPIN)], timeout_s=2))
    assert (spinning.status, spinning.kind) == (504, "GuestTimeout")
    [invalid] = asyncio.run(outcomes(scheduler, [x(1)], timeout_s=-1.0))
    assert invalid.status == 400
    scheduler.close()


def test_long_calls_run_concurrently(moody: Program) -> None:
    held = HeldProgram(moody)
    scheduler = Scheduler(held, max_queued=10, workers=3)  # type: ignore[arg-type]

    async def three() -> list[Any]:
        tasks = []
        for i in range(3):
            tasks.append(asyncio.ensure_future(scheduler.run(x(i))))
            await asyncio.to_thread(held.began.acquire)  # it has begun, and none has ended
        held.go.release(10)
        return list(await asyncio.gather(*tasks))

    assert [float(each["y"][0, 0]) for each in asyncio.run(three())] == [0, 2, 4]
    scheduler.close()


def test_closing_completes_accepted_requests_and_refuses_new_ones(moody: Program) -> None:
    held = HeldProgram(moody)
    scheduler = Scheduler(held, max_queued=10)  # type: ignore[arg-type]

    async def closing() -> list[Any]:
        task = asyncio.ensure_future(outcomes(scheduler, [x(i) for i in range(5)]))
        await submitted()
        closed = asyncio.ensure_future(asyncio.to_thread(scheduler.close))
        await asyncio.to_thread(held.began.acquire)
        held.go.release(10)
        await closed
        late = await outcomes(scheduler, [x(9)])
        return [*await task, *late]

    *results, late = asyncio.run(closing())
    assert [float(each["y"][0, 0]) for each in results] == [0, 2, 4, 6, 8]
    assert (late.status, late.message) == (503, "the service is shutting down")
