"""JSON to Python and back, by orjson: arrays are written without a Python object for each element; documents are strict
JSON, except for the bare words NaN and Infinity, which Triton's HTTP front end accepts and sends too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from ..request_errors import RequestError, input_error
from .nonfinite import BareWords

_PIECE = 1 << 16
"""Elements that are written at a time where some are not finite: other threads get their turn in between."""


def parse(body: bytes | bytearray | memoryview, what: str = "the request") -> Any:
    """The value of the document `body`, which errors call `what`. Raises RequestError with status 400 if `body` is not
    JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        found = problem
    raw = bytes(body)
    if not BareWords.may_be_in(raw):
        raise _refused(raw, what, found)
    words = BareWords(raw)
    try:
        return words.restore(orjson.loads(words.replaced()))
    except orjson.JSONDecodeError as problem:
        # its position counts the replacements too
        raise _refused(raw, what, problem, where=False) from None
    except ValueError as problem:
        raise input_error(f"{what} is no JSON: {problem}") from None


def _refused(raw: bytes, what: str, problem: orjson.JSONDecodeError, *, where: bool = True) -> RequestError:
    text = str(problem) if where else problem.msg
    if "depth" in text:
        return input_error(f"{what} is nested too deeply")
    if not raw.strip():
        return input_error(f"{what} is no JSON: it is empty")
    if "UTF-8" in text and "BOM" not in text:
        text = f"it is not UTF-8 {_first_wrong_byte(raw)}".rstrip()
    return input_error(f"{what} is no JSON: {text}")


def _first_wrong_byte(raw: bytes) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError as problem:
        return f"at byte {problem.start}"
    return ""


def written(value: Any) -> bytes:
    """`value` as JSON; NumPy arrays in it are C-contiguous, and finite (see `numbers`)."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def numbers(array: np.ndarray) -> np.ndarray | orjson.Fragment:
    """The flat `array` for `written`, with the words NaN, Infinity and -Infinity for elements that are not finite."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array
    return orjson.Fragment(b"[" + b",".join(_pieces(array)) + b"]")


def _pieces(array: np.ndarray) -> Iterator[bytes]:
    for start in range(0, len(array), _PIECE):
        piece = array[start : start + _PIECE]
        text = written(piece)[1:-1]  # orjson writes null for what is not finite, and for nothing else
        lost = piece[~np.isfinite(piece)]
        if not lost.size:
            yield text
        elif np.isnan(lost).all():
            yield text.replace(b"null", b"NaN")
        else:
            words = np.where(np.isnan(lost), "NaN", np.where(lost > 0, "Infinity", "-Infinity")).tolist()
            parts = text.split(b"null")
            yield parts[0] + b"".join(word.encode() + part for word, part in zip(words, parts[1:]))
