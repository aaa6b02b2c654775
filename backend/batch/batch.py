"""Runs the groups of a batch so that a request that fails or never ends barely affects the others.

If a group fails, its requests run again one by one, so that only the failing ones get an error. After the first timeout
the remaining requests get short tries, which together take a fraction of one time limit. Requests that exceed their try
run at the end with their full time limit, so that a good request never waits for several endless ones.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import numpy as np

from ..errors import GuestTimeout, HostBusy, InternalError, WasmError
from .coalesce import Group

_LOG = logging.getLogger(__name__)
SHORT_TRIES_SHARE = 0.25
"""Fraction of a time limit that all short tries may take together."""
MIN_TRY_S = 0.01
"""Minimum length of a try: deadlines are accurate to about 0.02 s."""

Outputs = dict[str, np.ndarray]
Result = Outputs | WasmError
OnResult = Callable[[int, Result], None]
"""A callback for the result of a request, with its index."""


@dataclass
class Batch:
    """The requests of one execution.

    `call` runs a group within a time limit in seconds, with or without borrowed outputs, and returns the outputs of
    each request. `check_cancelled` is called before a request runs alone, and raises Cancelled to skip it. `results`
    maps the index of a request to its result. After the first failure each result is passed to `on_result` as soon as
    it is known. At most `parallel` of the requests that exceeded their try run in parallel.
    """

    call: Callable[[Group, float, bool], Sequence[Outputs]]
    check_cancelled: Callable[[int], None] | None
    on_result: OnResult | None
    parallel: int
    results: dict[int, Result] = field(default_factory=dict)
    _unannounced: list[int] = field(default_factory=list)
    _failed: bool = False
    _tries_s: float | None = None  # remaining time for short tries, after a call has timed out
    _waiting: deque[Group] = field(default_factory=deque)
    _last: list[Group] = field(default_factory=list)

    def run(self, groups: Sequence[Group], borrow: bool) -> None:
        """Run `groups` and set all results."""
        self._waiting = deque(groups)
        while self._waiting:
            group = self._waiting.popleft()
            limit_s, began = self._limit(group), time.monotonic()
            error = self._cancelled(group) or self._called(group, limit_s, borrow and not self._failed)
            if self._tries_s is not None:
                self._tries_s = max(0.0, self._tries_s - (time.monotonic() - began))
            if error is not None or self._failed:
                self._sort(group, limit_s, error)
        if self._last:
            self._run_last()

    def settle(self, index: int, result: Result) -> None:
        """Set the result of request `index`."""
        self.results[index] = result
        if self.on_result is not None:
            self._unannounced.append(index)

    def _limit(self, group: Group) -> float:
        """The time limit of a call in seconds: for a try, its share of the remaining time for all tries."""
        if self._tries_s is None:
            return group[0].timeout_s
        return min(group[0].timeout_s, max(MIN_TRY_S, self._tries_s / (len(self._waiting) + 1)))

    def _cancelled(self, group: Group) -> WasmError | None:
        """The error of a single request that was cancelled, or None."""
        try:
            if self.check_cancelled is not None and len(group) == 1:
                self.check_cancelled(group[0].index)
        except Exception as error:  # noqa: BLE001  # an internal error affects only its own request
            return wasm_error(error)
        return None

    def _called(self, group: Group, limit_s: float, borrow: bool) -> WasmError | None:
        try:
            for item, outputs in zip(group, self.call(group, limit_s, borrow)):
                self.settle(item.index, outputs)
        except Exception as error:  # noqa: BLE001  # an internal error affects only its own request
            return wasm_error(error)
        return None

    def _sort(self, group: Group, limit_s: float, error: WasmError | None) -> None:
        """Set the results of a group that ran with `limit_s`, or schedule it again; pass known results to
        `on_result`."""
        timeout_s = group[0].timeout_s
        if self._tries_s is None and isinstance(error, GuestTimeout):
            self._tries_s = SHORT_TRIES_SHARE * timeout_s
        self._failed |= error is not None
        if isinstance(error, HostBusy):  # not caused by a request: each would wait for the same capacity
            for item in group:
                self.settle(item.index, error)
        elif error is not None and len(group) > 1:
            self._waiting.extend([item] for item in group)
        elif isinstance(error, GuestTimeout) and limit_s < timeout_s:
            self._last.append(group)
        elif error is not None:
            self.settle(group[0].index, error)
        while self._failed and self._unannounced and self.on_result is not None:  # other threads can add to it
            index = self._unannounced.pop(0)
            self.on_result(index, self.results[index])

    def _run_last(self) -> None:
        """Run the requests that exceeded their try, each with its full time limit, in parallel on the CPUs."""
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        workers = min(len(self._last), self.parallel, cpus)
        waiting = deque(self._last)
        running: dict[Future[WasmError | None], Group] = {}
        with ThreadPoolExecutor(workers, thread_name_prefix="wasm") as pool:
            while waiting or running:
                while waiting and len(running) < workers:
                    group = waiting.popleft()
                    error = self._cancelled(group)
                    if error is None:
                        running[pool.submit(self._called, group, group[0].timeout_s, False)] = group
                    else:
                        self._sort(group, group[0].timeout_s, error)
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    group = running.pop(done)
                    self._sort(group, group[0].timeout_s, done.result())


def wasm_error(error: Exception) -> WasmError:
    """Convert `error` to the error of its request. An unexpected exception becomes InternalError; its traceback is
    logged."""
    if isinstance(error, WasmError):
        return error
    _LOG.error("internal error in a request", exc_info=error)
    return InternalError("internal error; see the server log")
