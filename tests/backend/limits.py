"""Time limits for guests that never end, if good requests must be served within the same limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from portalis.backend import GuestTimeout
from tests.running.waiting import PATIENCE_S

T = TypeVar("T")


def in_time(check: Callable[[float], T], first_s: float) -> T:
    """The result of `check` under a time limit in seconds that is long enough for its good requests.

    It raises GuestTimeout if one of them was late, as on a busy machine, and is called again with a longer limit.
    """
    limit_s = first_s
    while True:
        try:
            return check(limit_s)
        except GuestTimeout:
            if limit_s >= PATIENCE_S:
                raise
            limit_s = min(8 * limit_s, PATIENCE_S)


def not_late(result: T) -> T:
    """The result of a good request. Raises it where it is a GuestTimeout."""
    if isinstance(result, GuestTimeout):
        raise result
    return result
