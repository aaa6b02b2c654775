"""Waits until the garbage collector has freed an object.

One `gc.collect()` is not enough. It returns immediately while another thread collects, and if that thread frees a store,
other threads run before its collection is complete.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

from tests.running.waiting import until


def wait_collected(condition: Callable[[], bool], why: str | Callable[[], object]) -> None:
    """Collect garbage until `condition` is true; fail with `why` if it does not become true."""

    def condition_after_collection() -> bool:
        gc.collect()
        return condition()

    until(condition_after_collection, why)
