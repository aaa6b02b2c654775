"""A slot of a stateful model: an instance of the module that runs one sequence at a time, request by request."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

from ..request_errors import RequestError, from_runtime_error, internal_error
from ..runtime_api import Program, WasmError
from ..sequence_step import SequenceStep
from .batch_runner import BatchRunner, deliver_outcomes
from .pending import AwaitedRequest, Inputs, Outcome, SchedulerMetrics
from .sequence_controls import SequenceControls
from .statistics import ModelStatistics


class SequenceRequest(AwaitedRequest):
    """A request of a sequence that waits or runs."""

    __slots__ = ("step",)

    def __init__(
        self,
        inputs: Inputs,
        step: SequenceStep,
        timeout_s: float | None,
        loop: asyncio.AbstractEventLoop,
        guest_timeout_s: float | None,
    ) -> None:
        super().__init__(inputs, timeout_s, loop, guest_timeout_s)
        self.step = step


class SequenceSlot:
    """A slot. Its module is loaded when its first request runs. Its scheduler guards `queue`, `busy` and `ended`."""

    def __init__(
        self,
        create_program: Callable[[], Program],
        controls: SequenceControls,
        name: str,
        metrics: SchedulerMetrics,
        statistics: ModelStatistics,
    ) -> None:
        self.queue: deque[SequenceRequest] = deque()
        """The requests of the slot's sequence that have not been run, in order."""
        self.busy = False
        """Whether a thread runs the slot's requests, or is about to."""
        self.ended = False
        """Whether the slot's sequence was ended for being idle: the slot is free after its last request."""
        self._create_program, self._controls, self._name = create_program, controls, name
        self._metrics, self._statistics = metrics, statistics
        self._program: Program | None = None
        self._runner: BatchRunner | None = None
        self._starts = False  # whether a sequence has started of which the module knows nothing yet

    def run(self, request: SequenceRequest) -> None:
        """Run `request` and deliver its outcome. A request that was cancelled, or is too late, is left out; if it
        started the sequence, the next one does."""
        self._starts |= request.step.start
        if request.cancelled:
            return
        try:
            runner = self._loaded()
        except Exception as error:  # noqa: BLE001  # otherwise the client would wait forever
            self._fail(request, error)
            return
        if time.perf_counter() > request.deadline:
            runner.deliver([request], runner.expire([request]))
            return
        if self._starts:
            self._reset()
        step = request.step._replace(start=self._starts)
        self._starts = False
        request.inputs = {**request.inputs, **self._controls.arrays(step)}
        runner.deliver([request], runner.run([request], borrow=False))

    def close(self) -> None:
        """Free the module."""
        if self._program is not None:
            self._program.close()

    def _loaded(self) -> BatchRunner:
        if self._runner is None:
            self._program = self._create_program()
            self._runner = BatchRunner(self._program, self._name, self._metrics, self._statistics)
        return self._runner

    def _reset(self) -> None:
        if self._program is not None:
            self._program.reset()

    def _fail(self, request: SequenceRequest, error: Exception) -> None:
        if isinstance(error, WasmError):
            outcome = from_runtime_error(error)
        else:
            outcome = internal_error(error, f"model '{self._name}'")
        fail_requests([request], outcome, self._name, self._statistics)
        self._metrics.count_failure(self._name, outcome.kind)


def fail_requests(requests: list[SequenceRequest], error: RequestError, name: str, statistics: ModelStatistics) -> None:
    """Deliver `error` to `requests` to the model `name`, which were not run, and count them."""
    outcomes: list[Outcome] = [RequestError(error.status, error.kind, error.message) for _ in requests]
    statistics.count_rejected(requests, time.perf_counter())
    deliver_outcomes(requests, outcomes, name)


def earliest_deadline(requests: deque[SequenceRequest]) -> float:
    """The earliest deadline of `requests` (``time.perf_counter``); infinite if none has one."""
    return min((request.deadline for request in requests), default=math.inf)
