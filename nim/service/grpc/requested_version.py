"""The version that a gRPC request names: a number, as Triton reads it."""

from __future__ import annotations

import re

from ..request_errors import input_error

_NUMBER = re.compile(r"[ \t-\r]*([+-]?)0*([0-9]{1,20})")
_MAX_VERSION = (1 << 63) - 1


def requested_version(text: str) -> str:
    """The decimal number at the start of `text`, without zeros before it. Raises RequestError with status 400 that has
    Triton's text unless there is one of at least 0 and below 2**63."""
    match = _NUMBER.match(text)
    if match is None or int(match[2]) > _MAX_VERSION:
        raise input_error(
            f"failed to get model version from specified version string '{text[:128]}' (details: stol), version should"
            " be an integral value > 0"
        )
    if match[1] == "-" and int(match[2]):
        raise input_error(f"invalid model version specified '{text[:128]}' , version should be an integral value > 0")
    return str(int(match[2]))
