"""Batches: how they run in the program, are counted, and deliver their outcomes to the requests that wait."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from ..request_errors import RequestError, from_runtime_error, internal_error
from ..runtime_api import Cancelled, GuestTimeout, Program, WasmError
from .pending import AwaitedRequest, BlockedRequest, Outcome, Outputs, PendingRequest, SchedulerMetrics
from .statistics import ModelStatistics

SMALL_OUTPUT_BYTES = 1 << 14
"""Maximum size of a result that is not borrowed."""
_LOG = logging.getLogger(__name__)


class BatchRunner:
    """Runs batches of requests in `program`, in any thread."""

    def __init__(
        self, program: Program, name: str, metrics: SchedulerMetrics, statistics: ModelStatistics | None = None
    ) -> None:
        self._program, self._name, self._metrics = program, name, metrics
        self.statistics = statistics or ModelStatistics()
        self.last_duration_s = math.inf
        """Duration of the last call; infinite before the first."""
        self._output_bytes = 0  # of the last result

    def run(self, batch: Sequence[PendingRequest], *, borrow: bool) -> list[Outcome]:
        """The outcome of each request of `batch`. With `borrow`, outputs are first views of the guest's memory, which
        requires that no other thread calls the program."""
        began = time.perf_counter()
        metrics, name = self._metrics, self._name
        metrics.observe_batch(name, len(batch), sum(request.rows for request in batch))
        for request in batch:
            metrics.observe_wait(name, began - request.since)
        # small outputs are copied in less time than it takes to borrow them
        outcomes = self._outcomes(batch, began, borrow and self._output_bytes > SMALL_OUTPUT_BYTES)
        duration_s = time.perf_counter() - began
        self.last_duration_s = duration_s
        for request in batch:
            request.run_s = duration_s
        self._count(batch, outcomes, began, duration_s)
        return outcomes

    def try_run(self, request: PendingRequest, limit_s: float) -> Outcome | None:
        """The outcome of `request`; None if the guest was interrupted after `limit_s`, although the request allows
        more. As with `borrow`, no other thread may call the program."""
        began = time.perf_counter()
        if began > request.deadline:
            return self.expire([request])[0]
        allowed_s = min(request.deadline - began, request.guest_timeout_s or math.inf)
        timeout_s = max(min(allowed_s, limit_s), 1e-6)
        borrow = request.take_outputs is not None  # which copies outputs to where they belong
        result = self._program.run_batch([request.inputs], timeouts_s=[timeout_s], borrow=borrow)[0]
        if isinstance(result, GuestTimeout) and limit_s < min(allowed_s, self._program.limits.timeout_s):
            self.last_duration_s = time.perf_counter() - began
            return None
        outcome = self._outcome(request, result, borrow)
        duration_s = time.perf_counter() - began
        self.last_duration_s = request.run_s = duration_s  # after the outcome: a long call lets other threads run
        self._metrics.observe_batch(self._name, 1, request.rows)
        self._metrics.observe_wait(self._name, began - request.since)
        self._count([request], [outcome], began, duration_s)
        return outcome

    def _outcomes(self, batch: Sequence[PendingRequest], began: float, borrow: bool) -> list[Outcome]:
        def deliver(index: int, result: Outputs | WasmError) -> None:
            batch[index].run_s = time.perf_counter() - began
            self.deliver([batch[index]], [self._outcome(batch[index], result, False)])

        try:
            results = self._program.run_batch(
                [request.inputs for request in batch],
                timeouts_s=_timeouts(batch, began),
                borrow=borrow,
                check_cancelled=_cancellation_check(batch) if len(batch) > 1 else None,
                on_result=deliver if len(batch) > 1 else None,
            )
            return [self._outcome(request, result, borrow) for request, result in zip(batch, results)]
        except Exception as error:  # noqa: BLE001  # otherwise the clients would wait forever
            if len(batch) == 1:
                return [internal_error(error, f"model '{self._name}'")]
            return [outcome for request in batch for outcome in self._outcomes([request], began, False)]

    def _outcome(self, request: PendingRequest, result: Outputs | WasmError, borrowed: bool) -> Outcome:
        """The outcome for a result of the runtime. An internal error affects only its own request."""
        try:
            if isinstance(result, WasmError):
                return from_runtime_error(result)
            self._output_bytes = sum(array.nbytes for array in result.values())
            if request.take_outputs is not None:
                result = request.take_outputs(result)
            return _owned(result) if borrowed else result
        except RequestError as error:
            return error
        except Exception as error:  # noqa: BLE001
            return internal_error(error, f"model '{self._name}'")

    def _count(
        self, batch: Sequence[PendingRequest], outcomes: Sequence[Outcome], began: float, duration_s: float
    ) -> None:
        self.statistics.count(batch, outcomes, began, duration_s)
        for outcome in outcomes:
            if isinstance(outcome, RequestError):
                self._metrics.count_failure(self._name, outcome.kind)

    def expire(self, late: Sequence[PendingRequest]) -> list[Outcome]:
        """The outcomes of requests that timed out before they ran."""
        outcomes: list[Outcome] = [_expired(request) for request in late]
        self._count(late, outcomes, time.perf_counter(), 0)
        return outcomes

    def deliver(self, batch: Sequence[PendingRequest], outcomes: Sequence[Outcome]) -> None:
        """Give each request its outcome. Each event loop is woken once."""
        deliver_outcomes(batch, outcomes, self._name)


def deliver_outcomes(batch: Sequence[PendingRequest], outcomes: Sequence[Outcome], name: str) -> None:
    """Give each request to the model `name` its outcome. Each event loop is woken once."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[AwaitedRequest, Outcome]]] = {}
    for request, outcome in zip(batch, outcomes):
        if isinstance(request, BlockedRequest):
            request.mailbox.put(outcome)
        elif isinstance(request, AwaitedRequest):
            loops.setdefault(request.loop, []).append((request, outcome))
    for loop, deliveries in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, deliveries)
        except RuntimeError:  # the loop is closed, and no request waits in it
            _LOG.debug("model '%s': %d results came after the end of the event loop", name, len(deliveries))


def _timeouts(batch: Sequence[PendingRequest], now: float) -> list[float | None]:
    """The time that each request allows the guest: the minimum of its guest timeout and of the time that is left of its
    own timeout. Requests with equal timeouts get equal times, without which they could not be joined."""
    left: dict[tuple[float | None, float | None], float] = {}
    for request in batch:
        if request.timeout_s is not None or request.guest_timeout_s is not None:
            timeouts = (request.timeout_s, request.guest_timeout_s)
            rest = max(request.deadline - now, 1e-6)
            left[timeouts] = min(rest, request.guest_timeout_s or math.inf, left.get(timeouts, math.inf))
    return (
        [left.get((request.timeout_s, request.guest_timeout_s)) for request in batch] if left else [None] * len(batch)
    )


def _cancellation_check(batch: Sequence[PendingRequest]) -> Callable[[int], None]:
    """A function that raises Cancelled if the request at an index of `batch` should not run any more."""

    def check(index: int) -> None:
        request = batch[index]
        if request.cancelled:
            raise Cancelled("the request was cancelled before it was run")
        if time.perf_counter() > request.deadline:
            raise Cancelled("the request timed out before it was run")

    return check


def _expired(request: PendingRequest) -> RequestError:
    return RequestError(504, "Cancelled", f"the request timed out after {request.timeout_s:g} s, before it was run")


def _owned(outputs: Outputs) -> Outputs:
    """`outputs` with copies of the views of guest memory, which the next call overwrites."""
    return {name: array if _is_owned(array) else array.copy() for name, array in outputs.items()}


def _is_owned(array: np.ndarray) -> bool:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return bool(array.flags.owndata)


def _resolve(deliveries: Sequence[tuple[AwaitedRequest, Outcome]]) -> None:
    for request, outcome in deliveries:
        if request.future.done():
            continue  # its client has disconnected
        if isinstance(outcome, RequestError):
            request.future.set_exception(outcome)
        else:
            request.future.set_result(outcome)
