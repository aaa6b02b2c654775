"""What is gone once garbage is collected.

One `gc.collect()` is not enough to tell: it returns at once while another thread collects, and where that thread frees a
store it lets others run in the middle.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

from tests.running.waiting import until


def collected(holds: Callable[[], bool], why: str | Callable[[], object]) -> None:
    """Collect garbage until `holds`; fail with `why` where it never does."""

    def holds_now() -> bool:
        gc.collect()
        return holds()

    until(holds_now, why)
