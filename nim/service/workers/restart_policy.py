"""When a worker process that has ended is started again."""

from __future__ import annotations

MAX_FAILED_STARTS = 5
"""Number of consecutive ends before the worker served, after which the service ends."""
STABLE_S, MAX_DELAY_S = 10.0, 30.0
"""Seconds of serving after which earlier ends do not count, and the maximum delay of a start in seconds."""
_FIRST_DELAY_S = 0.25


class RestartPolicy:
    """The restarts of one worker: the first is immediate, the delay of others doubles."""

    def __init__(self) -> None:
        self._ends = self.failed_starts = 0

    def delay_s(self, served_s: float | None) -> float | None:
        """The delay in seconds for a worker that has ended after it served for `served_s` (None: it did not serve).
        None if it is not started again."""
        self.failed_starts = self.failed_starts + 1 if served_s is None else 0
        if self.failed_starts >= MAX_FAILED_STARTS:
            return None
        if served_s is not None and served_s >= STABLE_S:
            self._ends = 0
        self._ends += 1
        return 0.0 if self._ends == 1 else min(MAX_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(self._ends - 2, 10))
