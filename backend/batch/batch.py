"""Runs the groups of a batch so that a request that fails, or never ends, costs the others little.

A group that fails is run again request by request: the others are answered. After the first timeout the requests that
are left get short tries, which cost a part of one time limit in all. What outlasts its try comes last, with its whole
time limit, so that no good request waits for one endless request after the other.
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
SHORT_TRIES_SHARE = 0.25  # of a time limit, for all short tries together
MIN_TRY_S = 0.01  # of a try: deadlines are kept to about 0.02 s

Outputs = dict[str, np.ndarray]
Result = Outputs | WasmError
OnResult = Callable[[int, Result], None]


@dataclass
class Batch:
    """The requests of one execution.

    `call` runs a group within a time limit in seconds, with or without borrowed outputs, and returns the outputs of
    each request. `proceed` is called before a request is run alone and raises Cancelled to leave it out. `results` are
    by the index of their request; once something has failed, each goes to `answered` as soon as it is known.
    At most `parallel` of the last requests run side by side.
    """

    call: Callable[[Group, float, bool], Sequence[Outputs]]
    proceed: Callable[[int], None] | None
    answered: OnResult | None
    parallel: int
    results: dict[int, Result] = field(default_factory=dict)
    _unannounced: list[int] = field(default_factory=list)
    _failed: bool = False
    _tries_s: float | None = None  # time that is left for short tries, once a call has timed out
    _waiting: deque[Group] = field(default_factory=deque)
    _last: list[Group] = field(default_factory=list)

    def run(self, groups: Sequence[Group], borrow: bool) -> None:
        """Run `groups`."""
        self._waiting = deque(groups)
        while self._waiting:
            group = self._waiting.popleft()
            limit_s, began = self._limit(group), time.monotonic()
            error = self._ask(group) or self._called(group, limit_s, borrow and not self._failed)
            if self._tries_s is not None:
                self._tries_s = max(0.0, self._tries_s - (time.monotonic() - began))
            if error is not None or self._failed:
                self._sort(group, limit_s, error)
        if self._last:
            self._run_last()

    def settle(self, index: int, result: Result) -> None:
        """Set the result of request `index`."""
        self.results[index] = result
        if self.answered is not None:
            self._unannounced.append(index)

    def _limit(self, group: Group) -> float:
        """How long a call may take: a try, its part of the time that is left for all."""
        if self._tries_s is None:
            return group[0].timeout_s
        return min(group[0].timeout_s, max(MIN_TRY_S, self._tries_s / (len(self._waiting) + 1)))

    def _ask(self, group: Group) -> WasmError | None:
        """The reason for which the one request of `group` is not to be run any more."""
        try:
            if self.proceed is not None and len(group) == 1:
                self.proceed(group[0].index)
        except Exception as error:  # noqa: BLE001  # one request's misfortune is not to be the whole batch's
            return wasm_error(error)
        return None

    def _called(self, group: Group, limit_s: float, borrow: bool) -> WasmError | None:
        try:
            for job, outputs in zip(group, self.call(group, limit_s, borrow)):
                self.settle(job.index, outputs)
        except Exception as error:  # noqa: BLE001  # one request's misfortune is not to be the whole batch's
            return wasm_error(error)
        return None

    def _sort(self, group: Group, limit_s: float, error: WasmError | None) -> None:
        """Decide what comes of a group that had `limit_s` and failed with `error`, if any; announce what is known."""
        timeout_s = group[0].timeout_s
        if self._tries_s is None and isinstance(error, GuestTimeout):
            self._tries_s = SHORT_TRIES_SHARE * timeout_s
        self._failed |= error is not None
        if isinstance(error, HostBusy):  # which none of them causes: one after the other would wait for the same
            for job in group:
                self.settle(job.index, error)
        elif error is not None and len(group) > 1:
            self._waiting.extend([job] for job in group)
        elif isinstance(error, GuestTimeout) and limit_s < timeout_s:
            self._last.append(group)
        elif error is not None:
            self.settle(group[0].index, error)
        while self._failed and self._unannounced and self.answered is not None:  # others may add to it meanwhile
            index = self._unannounced.pop(0)
            self.answered(index, self.results[index])

    def _run_last(self) -> None:
        """What outlasted its try, each with its whole time limit, side by side on the CPUs."""
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        side_by_side = min(len(self._last), self.parallel, cpus)
        waiting = deque(self._last)
        running: dict[Future[WasmError | None], Group] = {}
        with ThreadPoolExecutor(side_by_side, thread_name_prefix="wasm") as pool:
            while waiting or running:
                while waiting and len(running) < side_by_side:
                    group = waiting.popleft()
                    error = self._ask(group)
                    if error is None:
                        running[pool.submit(self._called, group, group[0].timeout_s, False)] = group
                    else:
                        self._sort(group, group[0].timeout_s, error)
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    group = running.pop(done)
                    self._sort(group, group[0].timeout_s, done.result())


def wasm_error(error: Exception) -> WasmError:
    """What a request ends in that met `error`: a bug of this package is an InternalError, its traceback in the log."""
    if isinstance(error, WasmError):
        return error
    _LOG.error("a request failed in the runtime itself", exc_info=error)
    return InternalError("internal error; see the server log")
