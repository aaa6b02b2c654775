"""Adaptive batching: the requests that wait for a model are run together, and none waits for others to come.

Each model has one bounded queue. While calls are short, one worker thread takes everything that has come meanwhile, so
that batches form by themselves; where calls are long, more workers run side by side.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from queue import SimpleQueue

from ..request_errors import RequestError, unavailable
from ..runtime_api import Program
from .batch_runner import BatchRunner
from .pending import Inputs, NullMetrics, Outputs, PendingRequest, SchedulerMetrics

SHORT_CALL_S = 0.002  # a call this short is over before another thread would have come to help
MAX_BATCH_BYTES = 8 << 20  # joining costs a copy; beyond this it costs more than a call


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
        self._name = name
        self._max_queued, self._max_workers = max_queued, workers
        self._metrics: SchedulerMetrics = metrics or NullMetrics()
        self._batches = BatchRunner(program, name, self._metrics)
        self.statistics = self._batches.statistics
        joins = interface.max_batch_size > 0 and program.isolation.value != "request"
        self._max_rows = interface.max_batch_size if joins else 0
        self._lock = threading.Lock()
        self._waiting: deque[PendingRequest] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running = 0  # workers that are not asleep
        self._closed = False

    async def run(
        self, inputs: Inputs, *, timeout_s: float | None = None, guest_timeout_s: float | None = None
    ) -> Outputs:
        """The outputs for `inputs`, arrays by name as `Program.run` takes them, which nobody else sees.

        `timeout_s` counts from now, waiting included; `guest_timeout_s` limits the guest's computation alone. Raises
        RequestError: 400 if the inputs do not match the interface, 429 if the queue is full, 503 after `close`, 504
        after a timeout, 500 if the guest fails.
        """
        if timeout_s is not None and not timeout_s > 0:
            raise RequestError(
                400, "InputError", f"the time limit must be a positive number of seconds, not {timeout_s!r}"
            )
        request = PendingRequest(inputs, timeout_s, asyncio.get_running_loop(), guest_timeout_s)
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

    def _submit(self, request: PendingRequest) -> None:
        with self._lock:
            if self._closed:
                raise unavailable("the service is shutting down")
            waiting = len(self._waiting)
            # the first one is as good as taken where a worker is free
            if waiting - (self._running == 0) >= self._max_queued:
                text = f"model '{self._name}' has {waiting} requests waiting, its limit; try again later"
                raise RequestError(429, "TooManyRequestsError", text)
            self._waiting.append(request)
            wanted = self._running == 0 or (self._batches.lasted_s > SHORT_CALL_S and self._running < self._max_workers)
            if wanted:
                self._running += 1
                if self._running > len(self._threads):
                    self._start_thread()
                    wanted = False
        self._metrics.set_queue_length(self._name, waiting + 1)
        if wanted:
            self._wake.put(None)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"model {self._name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _drop(self, request: PendingRequest) -> None:
        """Forget a request that nobody waits for any more, if it has not begun."""
        with self._lock:
            if request in self._waiting:
                self._waiting.remove(request)
            waiting = len(self._waiting)
        self._metrics.set_queue_length(self._name, waiting)

    def _work(self) -> None:
        batches = self._batches
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
            self._metrics.set_queue_length(self._name, waiting)
            late = [request for request in batch if time.perf_counter() > request.deadline]
            if late:
                batch = [request for request in batch if request not in late]
                batches.answer(late, batches.expire(late))
            if batch:
                batches.answer(batch, batches.run(batch, borrow=alone and batches.lasted_s <= SHORT_CALL_S))

    def _take(self) -> list[PendingRequest]:
        """What runs next: as much as waits and fits into one batch, one at least."""
        batch: list[PendingRequest] = []
        waiting, rows, size = self._waiting, 0, 0
        while waiting:
            rows, size = rows + waiting[0].rows, size + waiting[0].size
            if batch and (rows > self._max_rows or size > MAX_BATCH_BYTES):
                break
            batch.append(waiting.popleft())
        return batch
