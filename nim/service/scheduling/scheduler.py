"""Adaptive batching: the requests that wait for a model run together, and no request waits for others to arrive.

Each model has one bounded queue. While calls are short, one thread takes all requests that arrived during its last
call, which forms batches without a delay. If calls are long, more threads run concurrently.

Requests of coroutines run in worker threads. A thread that waits for its own request runs a batch itself if it finds
the program idle, and then asks another thread of the queue to run the next: no thread is switched to for a request that
comes alone, and no caller works for others for longer than one batch.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from ..request_errors import ModelClosed, RequestError, internal_error, queue_full, request_cancelled
from ..runtime_api import Program
from .batch_runner import BatchRunner
from .pending import (
    AwaitedRequest,
    BlockedRequest,
    Inputs,
    NullMetrics,
    Outputs,
    PendingRequest,
    SchedulerMetrics,
    TakeOutputs,
    check_timeout,
)

SHORT_CALL_S = 0.002
"""A call of at most this duration ends before another thread could have started to help."""
DIRECT_CALL_S, DIRECT_LIMIT_S = 0.0005, 0.02
"""An event loop runs calls of a program whose last call took at most the first duration, and waits for none longer than
the second."""
MAX_BATCH_BYTES = 8 << 20
"""Maximum size of a batch's inputs: joining copies them, which beyond this size takes longer than a call."""


class Scheduler:
    """The queue and the workers of one loaded `program`, which no other code may call at the same time.

    At most `max_queued` requests wait in addition to those that run, in at most `workers` threads at a time.
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
        self._max_queued, self._max_running = max_queued, workers
        self._metrics: SchedulerMetrics = metrics or NullMetrics()
        self._runner = BatchRunner(program, name, self._metrics)
        self.statistics = self._runner.statistics
        joins = interface.max_batch_size > 0 and program.isolation.value != "request"
        self._keeps_state = program.isolation.value == "instance"
        self._max_rows = interface.max_batch_size if joins else 0
        self._lock = threading.Lock()  # guards the fields below
        self._idle = threading.Condition(self._lock)  # notified after `close`, when no caller runs a batch any more
        self._queue: deque[PendingRequest] = deque()
        self._wake: SimpleQueue[bool] = SimpleQueue()  # False ends a worker
        self._threads: list[threading.Thread] = []
        self._awake = 0  # workers that run, or are about to
        self._leaders = 0  # callers that run, or are about to
        self._closed = False

    async def run(
        self,
        inputs: Inputs,
        *,
        timeout_s: float | None = None,
        guest_timeout_s: float | None = None,
        on_success: Callable[[float], None] | None = None,
        take_outputs: TakeOutputs | None = None,
    ) -> Outputs:
        """The outputs for `inputs`, arrays by name as in `Program.run`, which no other caller sees.

        `timeout_s` counts from now, queueing included; `guest_timeout_s` limits the guest's computation alone.
        `on_success` is called with the seconds for which the batch with the request ran, and `take_outputs` with the
        outputs, in the thread that ran it: they can be views of the guest's memory, and it returns those that are
        passed on. Raises RequestError: 400 if the inputs do not match the interface, 429 if the queue is full, 503
        after `close`, 504 after a timeout, 500 if the guest fails.
        """
        check_timeout(timeout_s)
        request = AwaitedRequest(inputs, timeout_s, asyncio.get_running_loop(), guest_timeout_s, take_outputs)
        self._submit(request)
        try:
            outputs = await request.future
        except asyncio.CancelledError:
            self._drop(request)
            raise
        if on_success is not None:
            on_success(request.run_s)
        return outputs

    def run_blocking(
        self,
        inputs: Inputs,
        *,
        timeout_s: float | None = None,
        guest_timeout_s: float | None = None,
        on_success: Callable[[float], None] | None = None,
        take_outputs: TakeOutputs | None = None,
        on_wait: Callable[[Callable[[], None]], bool] | None = None,
    ) -> Outputs:
        """The same for the calling thread, which can be asked to run a batch with requests of others.

        If the request has to wait, `on_wait` is called with a function that cancels it, and that can be called at any
        time and in any thread; `on_wait` returns False if the request is to be cancelled at once. A cancelled request
        raises RequestError with status 499.
        """
        check_timeout(timeout_s)
        request = BlockedRequest(inputs, timeout_s, guest_timeout_s, take_outputs)
        if self._submit(request):
            self._lead(request)
        elif on_wait is not None and not on_wait(lambda: self._cancel(request)):
            self._cancel(request)
        return self._outputs(request, on_success)

    def try_run(
        self,
        inputs: Inputs,
        *,
        timeout_s: float | None = None,
        guest_timeout_s: float | None = None,
        on_success: Callable[[float], None] | None = None,
        take_outputs: TakeOutputs | None = None,
    ) -> Outputs | None:
        """The outputs if the program is idle and its last call took at most `DIRECT_CALL_S`, otherwise None: `run` is
        to be called then. So an event loop can run short calls itself.

        A call that takes longer than `DIRECT_LIMIT_S` after all is interrupted, and is not counted. A program that
        keeps state between calls never runs here, because it would lose that state.
        """
        if self._running() or self._runner.last_duration_s > DIRECT_CALL_S or self._keeps_state:
            return None
        check_timeout(timeout_s)
        request = BlockedRequest(inputs, timeout_s, guest_timeout_s, take_outputs)
        with self._lock:
            if self._running() or self._closed:
                return None
            self._leaders += 1
        try:
            outcome = self._runner.try_run(request, DIRECT_LIMIT_S)
        finally:
            with self._lock:
                self._pass_on()
        if isinstance(outcome, RequestError):
            raise outcome
        if outcome is not None and on_success is not None:
            on_success(request.run_s)
        return outcome

    def close(self, timeout_s: float | None = None) -> None:
        """Refuse new requests, and wait until the accepted requests are done, for at most `timeout_s`."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        with self._idle:
            self._closed = True
            for _ in range(len(self._threads) - self._awake):
                self._wake.put(False)
            self._idle.wait_for(lambda: not self._leaders, timeout_s)
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))

    def _running(self) -> int:
        """The number of threads that run batches, or are about to."""
        return self._awake + self._leaders

    def _submit(self, request: PendingRequest) -> bool:
        """Add `request` to the queue. Returns whether the calling thread must call `_lead` now."""
        with self._lock:
            if self._closed:
                raise ModelClosed("the service is shutting down")
            waiting, running = len(self._queue), self._running()
            # if no thread runs, a worker or the caller is about to take the first request
            if waiting - (running == 0) >= self._max_queued:
                raise queue_full(self._name, waiting)
            self._queue.append(request)
            if running == 0 or (self._runner.last_duration_s > SHORT_CALL_S and running < self._max_running):
                if isinstance(request, BlockedRequest):
                    self._leaders += 1
                    return True
                self._start_worker()
        self._metrics.set_queue_length(self._name, waiting + 1)
        return False

    def _start_worker(self) -> None:
        """Let one more worker run. The lock is held."""
        self._awake += 1
        if self._awake <= len(self._threads) and not self._closed:
            self._wake.put(True)
            return
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

    def _cancel(self, request: BlockedRequest) -> None:
        if request.answered:
            return
        request.is_cancelled = True
        self._drop(request)  # first: the thread is not asked any more to run a batch
        request.mailbox.put(request_cancelled())

    def _outputs(self, request: BlockedRequest, on_success: Callable[[float], None] | None) -> Outputs:
        """The outputs of `request`, for which its thread waits; meanwhile it runs the batches that it is asked to."""
        while (outcome := request.mailbox.get()) is None:
            self._lead(request)
        request.answered = True
        if isinstance(outcome, RequestError):
            raise outcome
        if on_success is not None:
            on_success(request.run_s)
        return outcome

    def _lead(self, request: BlockedRequest) -> None:
        """Run the next batch in the thread of `request`, and let another thread run the one after it."""
        try:
            with self._lock:
                request.leads = False
                batch, waiting, alone = self._next_batch()
            if batch == [request]:
                self._run(batch, waiting, alone)
            elif batch:  # what the guest logs does not belong to the request of this thread
                contextvars.Context().run(self._run, batch, waiting, alone)
        finally:
            with self._lock:
                self._pass_on()

    def _pass_on(self) -> None:
        """Let another thread run instead of the caller's if requests wait. The lock is held."""
        if self._queue:
            for each in self._queue:
                if isinstance(each, BlockedRequest) and not each.leads:
                    each.leads = True
                    each.mailbox.put(None)
                    return
            self._start_worker()
        self._leaders -= 1
        if self._closed:
            self._idle.notify_all()

    def _work(self) -> None:
        """The loop of a worker thread."""
        while True:
            with self._lock:
                batch, waiting, alone = self._next_batch()
                if not batch:
                    self._awake -= 1
                    if self._closed:
                        return
            if batch:
                self._run(batch, waiting, alone)
            elif not self._wake.get():
                return

    def _next_batch(self) -> tuple[list[PendingRequest], int, bool]:
        """The requests to run next, as many waiting requests as fit into one batch and at least one if any waits; the
        number of those that still wait; and whether no other thread runs. The lock is held."""
        batch: list[PendingRequest] = []
        queue, rows, size = self._queue, 0, 0
        while queue:
            rows, size = rows + queue[0].rows, size + queue[0].size
            if batch and (rows > self._max_rows or size > MAX_BATCH_BYTES):
                break
            batch.append(queue.popleft())
        return batch, len(queue), self._running() == 1

    def _run(self, batch: list[PendingRequest], waiting: int, alone: bool) -> None:
        """Run `batch` and deliver the outcomes."""
        runner = self._runner
        try:
            self._metrics.set_queue_length(self._name, waiting)
            late = [request for request in batch if time.perf_counter() > request.deadline]
            if late:
                batch = [request for request in batch if request not in late]
                runner.deliver(late, runner.expire(late))
            if batch:
                runner.deliver(batch, runner.run(batch, borrow=alone and runner.last_duration_s <= SHORT_CALL_S))
        except Exception as error:  # noqa: BLE001  # otherwise the clients would wait forever
            runner.deliver(batch, [internal_error(error, f"model '{self._name}'") for _ in batch])
