"""Requests that wait for a model or run in it, and the interface for the metrics of a queue."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Protocol

import numpy as np

from ..request_errors import RequestError, input_error

Inputs = Mapping[str, np.ndarray]
Outputs = dict[str, np.ndarray]
Outcome = Outputs | RequestError
TakeOutputs = Callable[[Outputs], Outputs]
"""Receives the outputs of a request before the program's next call, which can overwrite them, and returns those for the
response. It can raise RequestError, and can be called again after that or after it returned."""


class SchedulerMetrics(Protocol):
    """Receives the events of queues, from any thread. A call must take only a few microseconds: each request makes
    several."""

    def set_queue_length(self, model: str, n: int) -> None:
        """Note that `n` requests of `model` wait now."""

    def observe_batch(self, model: str, size: int, rows: int) -> None:
        """Note that `size` requests with `rows` rows in total are about to run together."""

    def observe_wait(self, model: str, seconds: float) -> None:
        """Note the time for which a request waited until its batch started."""

    def count_failure(self, model: str, kind: str) -> None:
        """Count a failed request. `kind` is that of its RequestError, for example ``Trap``."""


class NullMetrics:
    """`SchedulerMetrics` that counts nothing."""

    def set_queue_length(self, model: str, n: int) -> None:
        """Do nothing."""

    def observe_batch(self, model: str, size: int, rows: int) -> None:
        """Do nothing."""

    def observe_wait(self, model: str, seconds: float) -> None:
        """Do nothing."""

    def count_failure(self, model: str, kind: str) -> None:
        """Do nothing."""


class PendingRequest:
    """A request that waits or runs."""

    __slots__ = ("deadline", "guest_timeout_s", "inputs", "rows", "run_s", "since", "size", "take_outputs", "timeout_s")

    def __init__(
        self,
        inputs: Inputs,
        timeout_s: float | None,
        guest_timeout_s: float | None = None,
        take_outputs: TakeOutputs | None = None,
    ) -> None:
        first = next(iter(inputs.values()), None)
        self.inputs, self.timeout_s, self.guest_timeout_s = inputs, timeout_s, guest_timeout_s
        self.rows = first.shape[0] if first is not None and first.ndim else 1
        self.size = sum(array.nbytes for array in inputs.values())
        self.since = time.perf_counter()
        self.take_outputs = take_outputs
        self.run_s = 0.0  # of the batch with this request
        self.deadline = math.inf if timeout_s is None else self.since + timeout_s

    @property
    def cancelled(self) -> bool:
        """Whether the outcome is not needed any more."""
        raise NotImplementedError


class AwaitedRequest(PendingRequest):
    """A request of a coroutine in `loop`, which awaits `future`."""

    __slots__ = ("future", "loop")

    def __init__(
        self,
        inputs: Inputs,
        timeout_s: float | None,
        loop: asyncio.AbstractEventLoop,
        guest_timeout_s: float | None = None,
        take_outputs: TakeOutputs | None = None,
    ) -> None:
        super().__init__(inputs, timeout_s, guest_timeout_s, take_outputs)
        self.loop = loop
        self.future: asyncio.Future[Outputs] = loop.create_future()

    @property
    def cancelled(self) -> bool:
        """Whether the coroutine was cancelled."""
        return self.future.cancelled()


class BlockedRequest(PendingRequest):
    """A request of a thread, which waits for a message in `mailbox`: None asks the thread to run the next batch, and
    anything else is the outcome."""

    __slots__ = ("answered", "is_cancelled", "leads", "mailbox")

    def __init__(
        self,
        inputs: Inputs,
        timeout_s: float | None,
        guest_timeout_s: float | None = None,
        take_outputs: TakeOutputs | None = None,
    ) -> None:
        super().__init__(inputs, timeout_s, guest_timeout_s, take_outputs)
        self.mailbox: SimpleQueue[Outcome | None] = SimpleQueue()
        self.leads = False  # whether its thread was asked to run the next batch
        self.answered = self.is_cancelled = False  # `answered` saves a late cancellation its work

    @property
    def cancelled(self) -> bool:
        """Whether the call was cancelled by another thread."""
        return self.is_cancelled


def check_timeout(timeout_s: float | None) -> None:
    """Raise RequestError with status 400 for a number of seconds that is not positive."""
    if timeout_s is not None and not timeout_s > 0:
        raise input_error(f"timeout: expected a positive number of seconds, got {timeout_s!r}")
