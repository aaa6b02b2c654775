"""How long a test waits for what must come to hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

# a machine with a load of 15 must fail nothing: what is measured is measured in `make bench`
PATIENCE_S = 300.0
T = TypeVar("T")


def until(
    holds: Callable[[], T], why: str | Callable[[], object] = "it never came to hold", *, every_s: float = 0.05
) -> T:
    """The first true value of `holds`, which may raise an error to end the wait. `why` is what the failure says."""
    end = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        if time.monotonic() > end:
            raise AssertionError(why() if callable(why) else why)
        time.sleep(every_s)
    return found
