"""What waits for a model or runs in it, and who is told of it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ..request_errors import RequestError

Inputs = Mapping[str, np.ndarray]
Outputs = dict[str, np.ndarray]
Outcome = Outputs | RequestError


class SchedulerMetrics(Protocol):
    """What is told of a queue, from any thread, in few microseconds: it is on the way of every request."""

    def set_queue_length(self, model: str, n: int) -> None:
        """`n` requests of `model` wait now."""

    def observe_batch(self, model: str, size: int, rows: int) -> None:
        """`size` requests with `rows` rows in all are about to run together."""

    def observe_wait(self, model: str, seconds: float) -> None:
        """A request has waited so long until its batch was taken."""

    def count_failure(self, model: str, kind: str) -> None:
        """A request has failed; `kind` is that of its RequestError, such as ``Trap``."""


class NullMetrics:
    """Counts nothing."""

    def set_queue_length(self, model: str, n: int) -> None:
        pass

    def observe_batch(self, model: str, size: int, rows: int) -> None:
        pass

    def observe_wait(self, model: str, seconds: float) -> None:
        pass

    def count_failure(self, model: str, kind: str) -> None:
        pass


class PendingRequest:
    """One request that waits or runs."""

    __slots__ = ("deadline", "future", "guest_timeout_s", "inputs", "loop", "rows", "since", "size", "timeout_s")

    def __init__(
        self,
        inputs: Inputs,
        timeout_s: float | None,
        loop: asyncio.AbstractEventLoop,
        guest_timeout_s: float | None = None,
    ) -> None:
        first = next(iter(inputs.values()), None)
        self.inputs, self.timeout_s, self.loop = inputs, timeout_s, loop
        self.guest_timeout_s = guest_timeout_s
        self.rows = first.shape[0] if first is not None and first.ndim else 1
        self.size = sum(array.nbytes for array in inputs.values())
        self.since = time.perf_counter()
        self.deadline = math.inf if timeout_s is None else self.since + timeout_s
        self.future: asyncio.Future[Outputs] = loop.create_future()
