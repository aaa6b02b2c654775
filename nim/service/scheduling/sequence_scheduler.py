"""Sequences of a stateful model: the requests of a sequence run in order in a slot of its own, those of different
sequences concurrently. If all slots are taken, further sequences wait until one is free."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ..request_errors import ModelClosed, RequestError, queue_full, unavailable
from ..runtime_api import Program
from ..sequence_step import SequenceStep
from .pending import Inputs, NullMetrics, Outputs, SchedulerMetrics, check_timeout
from .sequence_controls import SequenceControls, no_sequence, no_start, several_rows
from .sequence_slot import SequenceRequest, SequenceSlot, fail_requests
from .sequence_table import SequenceTable
from .statistics import ModelStatistics

_BACKLOG_EXPIRED = "timeout of the corresponding sequence has been expired"


class SequenceScheduler:
    """The sequences of one model.

    At most `max_sequences` have a slot; a sequence without a request for `max_idle_s` loses it. At most `max_queued`
    requests wait. `create_program` loads the module for a slot.
    """

    def __init__(
        self,
        create_program: Callable[[], Program],
        controls: SequenceControls,
        *,
        name: str,
        batches: bool,
        max_sequences: int,
        max_idle_s: float,
        max_queued: int,
        workers: int = 1,
        metrics: SchedulerMetrics | None = None,
    ) -> None:
        self._name, self._batches, self._controls = name, batches, controls
        self._max_queued = max_queued
        self._metrics: SchedulerMetrics = metrics or NullMetrics()
        self.statistics = ModelStatistics()
        self._slots = [
            SequenceSlot(create_program, controls, name, self._metrics, self.statistics) for _ in range(max_sequences)
        ]
        self._table = SequenceTable(self._slots, max_idle_s)
        self._changed = threading.Condition()  # its lock guards the table, the slots and the fields below
        self._queued = 0
        self._closed = self._without_backlog = False
        self._threads = ThreadPoolExecutor(min(workers, max_sequences), f"model {name}")
        self._reaper: threading.Thread | None = None
        self._wakes_at = 0.0  # when the reaper looks next

    async def run(
        self,
        inputs: Inputs,
        step: SequenceStep,
        *,
        timeout_s: float | None = None,
        guest_timeout_s: float | None = None,
        on_success: Callable[[float], None] | None = None,
    ) -> Outputs:
        """The outputs for `inputs` (without the control inputs) in the sequence of `step`.

        Raises RequestError as `Scheduler.run`; 400 also for a request without a sequence, or of one that has not been
        started, and 503 also if the sequence gets no slot within `timeout_s`. The sequence continues after an error.
        """
        check_timeout(timeout_s)
        request = SequenceRequest(inputs, step, timeout_s, asyncio.get_running_loop(), guest_timeout_s)
        if self._batches and request.rows > 1:
            raise several_rows(self._name)
        if not step.id:
            raise no_sequence(self._name)
        self._controls.check(step)
        with self._changed:
            self._submit(request)
            queued = self._queued
        self._metrics.set_queue_length(self._name, queued)
        try:
            outputs = await request.future
        except asyncio.CancelledError:
            self._drop(request)
            raise
        if on_success is not None:
            on_success(request.run_s)
        return outputs

    def reject_backlog(self) -> None:
        """Reject the requests of sequences without a slot, from now on as well: the requests that would end the others
        may never arrive."""
        with self._changed:
            self._without_backlog = True
            self._reject(self._table.drop_backlog(), self._stopping())

    def close(self) -> None:
        """Refuse new requests, fail those of sequences without a slot, wait for the others, and free the slots."""
        with self._changed:
            self._closed = True
            self._reject(self._table.drop_backlog(), self._stopping())
            self._changed.notify_all()
            self._changed.wait_for(lambda: not any(slot.busy for slot in self._slots))
        self._threads.shutdown()
        for slot in self._slots:
            slot.close()

    @staticmethod
    def _stopping() -> RequestError:
        return ModelClosed("Server is stopping, scheduler for model has stopped accepting new inference requests")

    def _submit(self, request: SequenceRequest) -> None:
        if self._closed:
            raise self._stopping()
        now = time.perf_counter()
        self._expire(now)
        if not request.step.start and not self._table.knows(request.step.id):
            raise no_start(self._name, request.step)
        if self._queued >= self._max_queued:
            raise queue_full(self._name, self._queued)
        self._queued += 1
        slot = self._table.add(request, now)
        if slot is not None:
            self._start(slot)
        elif self._without_backlog:
            self._reject(self._table.drop_backlog(), self._stopping())
        if self._reaper is None:
            self._reaper = threading.Thread(target=self._reap, name=f"sequences of {self._name}", daemon=True)
            self._reaper.start()
        elif self._table.next_event() < self._wakes_at:
            self._changed.notify_all()

    def _start(self, slot: SequenceSlot) -> None:
        """Let a thread run the next request of `slot`, unless one does."""
        if slot.queue and not slot.busy:
            slot.busy = True
            self._threads.submit(self._work, slot)

    def _work(self, slot: SequenceSlot) -> None:
        """Run one request of `slot`: the threads serve the slots in turn."""
        with self._changed:
            request = slot.queue.popleft()
            self._queued -= 1
            queued = self._queued
        self._metrics.set_queue_length(self._name, queued)
        try:
            slot.run(request)
        finally:
            with self._changed:
                slot.busy = False
                if request.step.end or (slot.ended and not slot.queue):
                    self._table.release(slot, time.perf_counter())
                self._start(slot)
                self._changed.notify_all()

    def _drop(self, request: SequenceRequest) -> None:
        """Forget the tensors of a cancelled request. Its flags still count, unless its whole sequence is waiting for a
        slot and cancelled."""
        with self._changed:
            self._queued -= self._table.drop_cancelled(request)
            queued = self._queued
        self._metrics.set_queue_length(self._name, queued)

    def _expire(self, now: float) -> None:
        """End the idle sequences, and reject those that have waited for a slot for too long."""
        for slot in self._table.end_idle(now):
            self._start(slot)
        self._reject(self._table.drop_expired(now), unavailable(_BACKLOG_EXPIRED))

    def _reject(self, requests: list[SequenceRequest], error: RequestError) -> None:
        if requests:
            self._queued -= len(requests)
            fail_requests(requests, error, self._name, self.statistics)
            for _ in requests:
                self._metrics.count_failure(self._name, error.kind)

    def _reap(self) -> None:
        """The loop of the thread that ends idle sequences, whether requests arrive or not."""
        with self._changed:
            while not self._closed:
                self._expire(time.perf_counter())
                self._wakes_at = self._table.next_event()
                self._changed.wait(min(max(self._wakes_at - time.perf_counter(), 0.001), threading.TIMEOUT_MAX))
