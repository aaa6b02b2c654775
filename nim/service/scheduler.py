"""Adaptive batching: the requests that wait for a model are run together, and none waits for others to come.

Each model has one bounded queue. While calls are short, one worker thread takes everything that has come meanwhile, so
that batches form by themselves; where calls are long, more workers run side by side.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Protocol

import numpy as np

from .problems import Problem, of_runtime
from .runtime import Cancelled, Program, WasmError
from .statistics import Statistics

BRISK_S = 0.002  # a call this short is over before another thread would have come to help
BATCH_BYTES = 8 << 20  # joining costs a copy; beyond this it costs more than a call
_LOG = logging.getLogger(__name__)

Inputs = Mapping[str, np.ndarray]
Outputs = dict[str, np.ndarray]
Outcome = Outputs | Problem


class SchedulerMetrics(Protocol):
    """What is told of a queue, from any thread, in few microseconds: it is on the way of every request."""

    def queued(self, model: str, n: int) -> None:
        """`n` requests of `model` wait now."""

    def batch(self, model: str, size: int, rows: int) -> None:
        """`size` requests with `rows` rows in all are about to run together."""

    def waited(self, model: str, seconds: float) -> None:
        """A request has waited so long until its batch was taken."""

    def failed(self, model: str, kind: str) -> None:
        """A request has failed; `kind` is that of its Problem, such as ``Trap``."""


class Silent:
    """Counts nothing."""

    def queued(self, model: str, n: int) -> None:
        pass

    def batch(self, model: str, size: int, rows: int) -> None:
        pass

    def waited(self, model: str, seconds: float) -> None:
        pass

    def failed(self, model: str, kind: str) -> None:
        pass


class Request:
    """One request that waits or runs."""

    __slots__ = ("deadline", "future", "inputs", "loop", "rows", "since", "size", "timeout_s")

    def __init__(self, inputs: Inputs, timeout_s: float | None, loop: asyncio.AbstractEventLoop) -> None:
        first = next(iter(inputs.values()), None)
        self.inputs, self.timeout_s, self.loop = inputs, timeout_s, loop
        self.rows = first.shape[0] if first is not None and first.ndim else 1
        self.size = sum(array.nbytes for array in inputs.values())
        self.since = time.perf_counter()
        self.deadline = math.inf if timeout_s is None else self.since + timeout_s
        self.future: asyncio.Future[Outputs] = loop.create_future()


class Scheduler:
    """The queue and the workers of one loaded `program`, which must be called by nobody else meanwhile.

    At most `max_queued` requests wait beside those that run; `workers` threads at most run them.
    """

    def __init__(
        self,
        program: Program,
        *,
        max_queued: int,
        name: str = "model",
        workers: int = 1,
        metrics: SchedulerMetrics | None = None,
    ) -> None:
        interface = program.interface
        self.statistics = Statistics()
        self._program, self._name = program, name
        self._max_queued, self._max_workers = max_queued, workers
        self._metrics: SchedulerMetrics = metrics or Silent()
        joins = interface.max_batch_size > 0 and program.isolation.value != "request"
        self._max_rows = interface.max_batch_size if joins else 0
        self._lock = threading.Lock()
        self._waiting: deque[Request] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running = 0  # workers that are not asleep
        self._lasted_s = math.inf  # the last call; unknown at first
        self._closed = False

    async def run(self, inputs: Inputs, *, timeout_s: float | None = None) -> Outputs:
        """The outputs for `inputs`, arrays by name as `Program.run` takes them, which nobody else sees.

        `timeout_s` counts from now, waiting included. Raises Problem: 400 where the inputs do not fit, 429 when the
        queue is full, 503 after `close`, 504 when the time is over, 500 when the guest fails.
        """
        if timeout_s is not None and not timeout_s > 0:
            raise Problem(400, "InputError", f"the time limit must be a positive number of seconds, not {timeout_s!r}")
        request = Request(inputs, timeout_s, asyncio.get_running_loop())
        self._submit(request)
        try:
            return await request.future
        except asyncio.CancelledError:
            self._drop(request)
            raise

    def close(self, timeout_s: float | None = None) -> None:
        """Refuse what comes from now on, and answer everything that was accepted; at most `timeout_s` are spent."""
        with self._lock:
            self._closed = True
            asleep = len(self._threads) - self._running
            self._running += asleep
        for _ in range(asleep):
            self._wake.put(None)
        end = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))

    def _submit(self, request: Request) -> None:
        with self._lock:
            if self._closed:
                raise Problem(503, "ServiceUnavailableError", "the service is shutting down")
            waiting = len(self._waiting)
            # the first one is as good as taken where a worker is free
            if waiting - (self._running == 0) >= self._max_queued:
                text = f"model '{self._name}' has {waiting} requests waiting, its limit; try again later"
                raise Problem(429, "TooManyRequestsError", text)
            self._waiting.append(request)
            wanted = self._running == 0 or (self._lasted_s > BRISK_S and self._running < self._max_workers)
            if wanted:
                self._running += 1
                if self._running > len(self._threads):
                    self._start_thread()
                    wanted = False
        self._metrics.queued(self._name, waiting + 1)
        if wanted:
            self._wake.put(None)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"model {self._name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _drop(self, request: Request) -> None:
        """Forget a request that nobody waits for any more, if it has not begun."""
        with self._lock:
            if request in self._waiting:
                self._waiting.remove(request)
            waiting = len(self._waiting)
        self._metrics.queued(self._name, waiting)

    def _work(self) -> None:
        while True:
            with self._lock:
                batch = self._take()
                waiting, alone = len(self._waiting), self._running == 1
                if not batch:
                    if self._closed:
                        return
                    self._running -= 1
            if not batch:
                self._wake.get()
                continue
            self._metrics.queued(self._name, waiting)
            late = [request for request in batch if time.perf_counter() > request.deadline]
            if late:
                batch = [request for request in batch if request not in late]
                outcomes = [_expired(request) for request in late]
                self._count(late, outcomes, time.perf_counter(), 0)
                self._answer(late, outcomes)
            if batch:
                self._answer(batch, self._run(batch, borrow=alone and self._lasted_s <= BRISK_S))

    def _take(self) -> list[Request]:
        """What runs next: as much as waits and fits into one batch, one at least."""
        batch: list[Request] = []
        waiting, rows, size = self._waiting, 0, 0
        while waiting:
            rows, size = rows + waiting[0].rows, size + waiting[0].size
            if batch and (rows > self._max_rows or size > BATCH_BYTES):
                break
            batch.append(waiting.popleft())
        return batch

    def _run(self, batch: Sequence[Request], *, borrow: bool) -> list[Outcome]:
        """The outcome of each request of a batch."""
        began = time.perf_counter()
        metrics, name = self._metrics, self._name
        metrics.batch(name, len(batch), sum(request.rows for request in batch))
        for request in batch:
            metrics.waited(name, began - request.since)
        try:
            results = self._program.run_batch(
                [request.inputs for request in batch],
                timeouts_s=_timeouts(batch, began),
                borrow=borrow,
                proceed=_proceed(batch) if len(batch) > 1 else None,
            )
            outcomes: list[Outcome] = [
                of_runtime(each) if isinstance(each, WasmError) else _owned(each) if borrow else each
                for each in results
            ]
        except Exception:  # noqa: BLE001  # else its clients would wait for ever
            _LOG.exception("model '%s': a batch failed in the service itself", name)
            text = "the service failed; its log says how"
            outcomes = [Problem(500, "InternalServerError", text) for _ in batch]
        self._lasted_s = time.perf_counter() - began
        self._count(batch, outcomes, began, self._lasted_s)
        return outcomes

    def _count(self, batch: Sequence[Request], outcomes: Sequence[Outcome], began: float, lasted_s: float) -> None:
        self.statistics.count(batch, outcomes, began, lasted_s)
        for outcome in outcomes:
            if isinstance(outcome, Problem):
                self._metrics.failed(self._name, outcome.kind)

    def _answer(self, batch: Sequence[Request], outcomes: Sequence[Outcome]) -> None:
        """Wake each event loop once."""
        loops: dict[asyncio.AbstractEventLoop, list[tuple[Request, Outcome]]] = {}
        for request, outcome in zip(batch, outcomes):
            loops.setdefault(request.loop, []).append((request, outcome))
        for loop, answers in loops.items():
            try:
                loop.call_soon_threadsafe(_resolve, answers)
            except RuntimeError:  # the loop is closed: nobody waits there
                _LOG.debug("model '%s': %d answers came too late", self._name, len(answers))


def _timeouts(batch: Sequence[Request], now: float) -> list[float | None]:
    """What is left of each request's time. Those that asked for the same get the same, or they could not be joined."""
    left: dict[float | None, float] = {}
    for request in batch:
        if request.timeout_s is not None:
            rest = max(request.deadline - now, 1e-6)
            left[request.timeout_s] = min(rest, left.get(request.timeout_s, math.inf))
    return [left.get(request.timeout_s) for request in batch]


def _proceed(batch: Sequence[Request]) -> Callable[[int], None]:
    def proceed(index: int) -> None:
        request = batch[index]
        if request.future.cancelled():
            raise Cancelled("the request was cancelled before it was run")
        if time.perf_counter() > request.deadline:
            raise Cancelled("the request's time was over before it was run")

    return proceed


def _expired(request: Request) -> Problem:
    return Problem(504, "Cancelled", f"the request's {request.timeout_s:g} s were over before it was run")


def _owned(outputs: Outputs) -> Outputs:
    """`outputs` without views of guest memory, which the next call overwrites."""
    return {name: array if _is_owned(array) else array.copy() for name, array in outputs.items()}


def _is_owned(array: np.ndarray) -> bool:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return bool(array.flags.owndata)


def _resolve(answers: Sequence[tuple[Request, Outcome]]) -> None:
    for request, outcome in answers:
        if request.future.done():
            continue  # its client has gone
        if isinstance(outcome, Problem):
            request.future.set_exception(outcome)
        else:
            request.future.set_result(outcome)
