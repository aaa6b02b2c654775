"""Waiting for conditions in tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

# long, so that no test fails on a machine with a load of 15; only `make bench` measures times
PATIENCE_S = 300.0
T = TypeVar("T")


def until(
    condition: Callable[[], T],
    why: str | Callable[[], object] = "the condition did not become true",
    *,
    every_s: float = 0.05,
) -> T:
    """Wait for a true value of `condition` and return it; fail with `why` after `PATIENCE_S`.

    An exception of `condition` ends the wait.
    """
    end = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(why() if callable(why) else why)
        time.sleep(every_s)
    return value
