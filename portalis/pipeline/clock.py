"""The time that goes into what is made, so that the same input can give the same bytes."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone

from ..errors import UsageError

VARIABLE = "SOURCE_DATE_EPOCH"
_LATEST = 253402300799  # the end of the year 9999


def now() -> str:
    """This second in UTC, ISO 8601."""
    return _text(int(time.time()))


def creation_time() -> str:
    """SOURCE_DATE_EPOCH (seconds since 1970) where it is set, else this second. Raises UsageError for another value."""
    given = os.environ.get(VARIABLE)
    if not given:
        return now()
    if not given.isdecimal() or int(given) > _LATEST:
        raise UsageError(
            f"{VARIABLE} is {given!r}, not a number of seconds",
            remediation=f"Set {VARIABLE} as `date +%s` prints it, or unset it.",
        )
    return _text(int(given))


def _text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
