"""JSON to Python and back, by orjson: strict (no NaN, no half of a surrogate pair), and arrays without a Python object
for each element."""

from __future__ import annotations

from typing import Any

import orjson

from .problems import bad_input

_NO_NUMBERS = (b"NaN", b"Infinity")


def parse(body: bytes | bytearray | memoryview) -> Any:
    """What `body` says. Raises Problem with status 400 where it is no JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        told = str(problem)
    if "depth" in told or "ecursion" in told:
        raise bad_input("the request is nested too deeply")
    found = next((word.decode() for word in _NO_NUMBERS if word in bytes(body)), None)
    hint = f" ({found} is no JSON; write it as text)" if found else ""
    raise bad_input(f"the request is no JSON: {told}{hint}")


def written(value: Any) -> bytes:
    """`value` as JSON; NumPy arrays in it are C-contiguous, and finite."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
