"""The creation time of artifacts, which SOURCE_DATE_EPOCH fixes for reproducible output."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone

from ..errors import UsageError

_VARIABLE = "SOURCE_DATE_EPOCH"
_LATEST = 253402300799  # the end of the year 9999


def now() -> str:
    """The current time in UTC, ISO 8601, to the second."""
    return _iso_8601(int(time.time()))


def creation_time() -> str:
    """SOURCE_DATE_EPOCH (seconds since 1970) if set, else the current time. Raises UsageError if it is invalid."""
    value = os.environ.get(_VARIABLE)
    if not value:
        return now()
    if not value.isdecimal() or int(value) > _LATEST:
        raise UsageError(
            f"{_VARIABLE} is {value!r}: expected a number of seconds",
            remediation=f"Set {_VARIABLE} to the output of `date +%s`, or unset it.",
        )
    return _iso_8601(int(value))


def _iso_8601(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
