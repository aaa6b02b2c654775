"""JSON by orjson, which writes arrays without a Python object for each element.

Documents are strict JSON, except for the literals NaN and Infinity, which Triton's HTTP endpoint accepts and sends too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from ..request_errors import RequestError, input_error
from .nonfinite import NonFiniteLiterals

_CHUNK = 1 << 16
"""Elements that are written at a time if some are not finite, so that other threads can run in between."""


def parse_json(body: bytes | bytearray | memoryview) -> Any:
    """The value of `body`, the JSON of a request. Raises RequestError with status 400 if `body` is not JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        first_error = error
    raw = bytes(body)
    if not NonFiniteLiterals.may_be_in(raw):
        raise _json_error(raw, first_error)
    literals = NonFiniteLiterals(raw)
    try:
        return literals.restore(orjson.loads(literals.replaced()))
    except orjson.JSONDecodeError as error:
        # its position is one in the text with replacements
        raise _json_error(raw, error, position=False) from None
    except ValueError as error:
        raise input_error(f"the request is not valid JSON: {error}") from None


def _json_error(raw: bytes, error: orjson.JSONDecodeError, *, position: bool = True) -> RequestError:
    text = str(error) if position else error.msg
    if "depth" in text:
        return input_error("the request is nested too deeply")
    if not raw.strip():
        return input_error("the request is not valid JSON: it is empty")
    if "UTF-8" in text and "BOM" not in text:
        text = f"it is not UTF-8 {_first_invalid_byte(raw)}".rstrip()
    return input_error(f"the request is not valid JSON: {text}")


def _first_invalid_byte(raw: bytes) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"at byte {error.start}"
    return ""


def write_json(value: Any) -> bytes:
    """`value` as JSON. NumPy arrays in it must be C-contiguous, and finite (see `json_numbers`)."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def json_numbers(array: np.ndarray) -> np.ndarray | orjson.Fragment:
    """The flat `array` for `write_json`, with the literals NaN, Infinity and -Infinity for elements that are not
    finite."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array
    return orjson.Fragment(b"[" + b",".join(_chunks(array)) + b"]")


def _chunks(array: np.ndarray) -> Iterator[bytes]:
    for start in range(0, len(array), _CHUNK):
        chunk = array[start : start + _CHUNK]
        text = write_json(chunk)[1:-1]  # orjson writes null for each element that is not finite, and only for these
        nonfinite = chunk[~np.isfinite(chunk)]
        if not nonfinite.size:
            yield text
        elif np.isnan(nonfinite).all():
            yield text.replace(b"null", b"NaN")
        else:
            infinities = np.where(nonfinite > 0, "Infinity", "-Infinity")
            literals = np.where(np.isnan(nonfinite), "NaN", infinities).tolist()
            parts = text.split(b"null")
            yield parts[0] + b"".join(literal.encode() + part for literal, part in zip(literals, parts[1:]))
