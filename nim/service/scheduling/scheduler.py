"""Adaptive batching: the requests that wait for a model run together, and no request waits for others to arrive.

Each model has one bounded queue. While calls are short, one worker thread takes all requests that arrived during its
last call, which forms batches without a delay. If calls are long, more workers run concurrently.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from ..request_errors import input_error, queue_full, unavailable
from ..runtime_api import Program
from .batch_runner import BatchRunner
from .pending import Inputs, NullMetrics, Outputs, PendingRequest, SchedulerMetrics

SHORT_CALL_S = 0.002
"""A call of at most this duration ends before another thread could have started to help."""
MAX_BATCH_BYTES = 8 << 20
"""Maximum size of a batch's inputs: joining copies them, which beyond this size takes longer than a call."""


class Scheduler:
    """The queue and the workers of one loaded `program`, which no other code may call at the same time.

    At most `max_queued` requests wait in addition to those that run, in at most `workers` threads.
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
        self._runner = BatchRunner(program, name, self._metrics)
        self.statistics = self._runner.statistics
        joins = interface.max_batch_size > 0 and program.isolation.value != "request"
        self._max_rows = interface.max_batch_size if joins else 0
        self._lock = threading.Lock()
        self._queue: deque[PendingRequest] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running = 0  # workers that are not asleep
        self._closed = False

    async def run(
        self,
        inputs: Inputs,
        *,
        timeout_s: float | None = None,
        guest_timeout_s: float | None = None,
        on_success: Callable[[float], None] | None = None,
    ) -> Outputs:
        """The outputs for `inputs`, arrays by name as in `Program.run`, which no other caller sees.

        `timeout_s` counts from now, queueing included; `guest_timeout_s` limits the guest's computation alone.
        `on_success` is called with the seconds for which the batch with the request ran. Raises RequestError: 400 if
        the inputs do not match the interface, 429 if the queue is full, 503 after `close`, 504 after a timeout, 500 if
        the guest fails.
        """
        if timeout_s is not None and not timeout_s > 0:
            raise input_error(f"timeout: expected a positive number of seconds, got {timeout_s!r}")
        request = PendingRequest(inputs, timeout_s, asyncio.get_running_loop(), guest_timeout_s)
        self._submit(request)
        try:
            outputs = await request.future
        except asyncio.CancelledError:
            self._drop(request)
            raise
        if on_success is not None:
            on_success(request.run_s)
        return outputs

    def close(self, timeout_s: float | None = None) -> None:
        """Refuse new requests, and wait until the accepted requests are done, for at most `timeout_s`."""
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
            waiting = len(self._queue)
            # if no worker runs, a worker is about to take the first request
            if waiting - (self._running == 0) >= self._max_queued:
                raise queue_full(self._name, waiting)
            self._queue.append(request)
            needs_worker = self._running == 0 or (
                self._runner.last_duration_s > SHORT_CALL_S and self._running < self._max_workers
            )
            if needs_worker:
                self._running += 1
                if self._running > len(self._threads):
                    self._start_thread()
                    needs_worker = False
        self._metrics.set_queue_length(self._name, waiting + 1)
        if needs_worker:
            self._wake.put(None)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"model {self._name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _drop(self, request: PendingRequest) -> None:
        """Remove a cancelled request from the queue, unless it runs already."""
        with self._lock:
            if request in self._queue:
                self._queue.remove(request)
            waiting = len(self._queue)
        self._metrics.set_queue_length(self._name, waiting)

    def _work(self) -> None:
        """The loop of a worker thread."""
        runner = self._runner
        while True:
            with self._lock:
                batch = self._next_batch()
                waiting, alone = len(self._queue), self._running == 1
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
                runner.deliver(late, runner.expire(late))
            if batch:
                runner.deliver(batch, runner.run(batch, borrow=alone and runner.last_duration_s <= SHORT_CALL_S))

    def _next_batch(self) -> list[PendingRequest]:
        """The requests to run next: as many waiting requests as fit into one batch, at least one if any waits."""
        batch: list[PendingRequest] = []
        queue, rows, size = self._queue, 0, 0
        while queue:
            rows, size = rows + queue[0].rows, size + queue[0].size
            if batch and (rows > self._max_rows or size > MAX_BATCH_BYTES):
                break
            batch.append(queue.popleft())
        return batch
