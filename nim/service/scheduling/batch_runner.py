"""One batch: run in the program, counted, and its outcomes brought to those who wait."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from ..request_errors import RequestError, from_runtime_error, internal_error
from ..runtime_api import Cancelled, Program, WasmError
from .pending import Outcome, Outputs, PendingRequest, SchedulerMetrics
from .statistics import ModelStatistics

_LOG = logging.getLogger(__name__)


class BatchRunner:
    """Runs batches of requests in `program`, in any thread."""

    def __init__(self, program: Program, name: str, metrics: SchedulerMetrics) -> None:
        self._program, self._name, self._metrics = program, name, metrics
        self.statistics = ModelStatistics()
        self.lasted_s = math.inf
        """Of the last call; unknown at first."""

    def run(self, batch: Sequence[PendingRequest], *, borrow: bool) -> list[Outcome]:
        """The outcome of each request of `batch`. With `borrow`, outputs are read where the guest has them: no one else
        may call the program meanwhile."""
        began = time.perf_counter()
        metrics, name = self._metrics, self._name
        metrics.observe_batch(name, len(batch), sum(request.rows for request in batch))
        for request in batch:
            metrics.observe_wait(name, began - request.since)
        outcomes = self._outcomes(batch, began, borrow)
        lasted_s = time.perf_counter() - began
        self.lasted_s = lasted_s
        self._count(batch, outcomes, began, lasted_s)
        return outcomes

    def _outcomes(self, batch: Sequence[PendingRequest], began: float, borrow: bool) -> list[Outcome]:
        def answered(index: int, result: Outputs | WasmError) -> None:
            self.answer([batch[index]], [self._outcome(result, False)])

        try:
            results = self._program.run_batch(
                [request.inputs for request in batch],
                timeouts_s=_timeouts(batch, began),
                borrow=borrow,
                proceed=_proceed(batch) if len(batch) > 1 else None,
                answered=answered if len(batch) > 1 else None,
            )
            return [self._outcome(result, borrow) for result in results]
        except Exception as error:  # noqa: BLE001  # else its clients would wait for ever
            if len(batch) == 1:
                return [internal_error(error, f"model '{self._name}'")]
            return [outcome for request in batch for outcome in self._outcomes([request], began, False)]

    def _outcome(self, result: Outputs | WasmError, borrowed: bool) -> Outcome:
        """What the client gets for a result of the runtime; a bug met on the way is this request's alone."""
        try:
            if isinstance(result, WasmError):
                return from_runtime_error(result)
            return _owned(result) if borrowed else result
        except Exception as error:  # noqa: BLE001
            return internal_error(error, f"model '{self._name}'")

    def _count(
        self, batch: Sequence[PendingRequest], outcomes: Sequence[Outcome], began: float, lasted_s: float
    ) -> None:
        self.statistics.count(batch, outcomes, began, lasted_s)
        for outcome in outcomes:
            if isinstance(outcome, RequestError):
                self._metrics.count_failure(self._name, outcome.kind)

    def expire(self, late: Sequence[PendingRequest]) -> list[Outcome]:
        """The outcome of requests whose time was over before they were run."""
        outcomes: list[Outcome] = [_expired(request) for request in late]
        self._count(late, outcomes, time.perf_counter(), 0)
        return outcomes

    def answer(self, batch: Sequence[PendingRequest], outcomes: Sequence[Outcome]) -> None:
        """Wake each event loop once."""
        loops: dict[asyncio.AbstractEventLoop, list[tuple[PendingRequest, Outcome]]] = {}
        for request, outcome in zip(batch, outcomes):
            loops.setdefault(request.loop, []).append((request, outcome))
        for loop, answers in loops.items():
            try:
                loop.call_soon_threadsafe(_resolve, answers)
            except RuntimeError:  # the loop is closed: nobody waits there
                _LOG.debug("model '%s': %d answers came too late", self._name, len(answers))


def _timeouts(batch: Sequence[PendingRequest], now: float) -> list[float | None]:
    """What each request leaves the guest: its own limit for that, and what is left of its time. Those that asked for
    the same get the same, or they could not be joined."""
    left: dict[tuple[float | None, float | None], float] = {}
    for request in batch:
        if request.timeout_s is not None or request.guest_timeout_s is not None:
            asked = (request.timeout_s, request.guest_timeout_s)
            rest = max(request.deadline - now, 1e-6)
            left[asked] = min(rest, request.guest_timeout_s or math.inf, left.get(asked, math.inf))
    return (
        [left.get((request.timeout_s, request.guest_timeout_s)) for request in batch] if left else [None] * len(batch)
    )


def _proceed(batch: Sequence[PendingRequest]) -> Callable[[int], None]:
    def proceed(index: int) -> None:
        request = batch[index]
        if request.future.cancelled():
            raise Cancelled("the request was cancelled before it was run")
        if time.perf_counter() > request.deadline:
            raise Cancelled("the request's time was over before it was run")

    return proceed


def _expired(request: PendingRequest) -> RequestError:
    return RequestError(504, "Cancelled", f"the request's {request.timeout_s:g} s were over before it was run")


def _owned(outputs: Outputs) -> Outputs:
    """`outputs` without views of guest memory, which the next call overwrites."""
    return {name: array if _is_owned(array) else array.copy() for name, array in outputs.items()}


def _is_owned(array: np.ndarray) -> bool:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return bool(array.flags.owndata)


def _resolve(answers: Sequence[tuple[PendingRequest, Outcome]]) -> None:
    for request, outcome in answers:
        if request.future.done():
            continue  # its client has gone
        if isinstance(outcome, RequestError):
            request.future.set_exception(outcome)
        else:
            request.future.set_result(outcome)
