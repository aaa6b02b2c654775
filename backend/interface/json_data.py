"""Converts tensor elements to JSON values and back, for all readers and writers of JSON, without silent changes.

NumPy lacks bfloat16: BF16 tensors are ``uint16`` arrays of raw bits in memory and numbers in JSON. Elements of a BYTES
tensor are strings, or base64 if one of them is not UTF-8. NaN and the infinities are floats here; the writer of a
document chooses their notation.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import numpy as np

from .dtypes import DType, bf16_to_f32, f32_to_bf16

BASE64 = "base64"
# strings accepted as floats: the names in protobuf's JSON, and Python's
_NAMED = {name: float(name) for name in ("NaN", "Infinity", "-Infinity", "nan", "inf", "-inf")}
_SHOWN = 40
_TYPE_NAMES = {type(None): "null", dict: "an object", list: "a list"}


def describe_json_value(value: Any) -> str:
    """A value of a JSON document for messages: null, true, 1.5, NaN, 'text', a list, an object."""
    kind = type(value)
    if kind is str:
        return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r} …"
    if kind is bool:
        return "true" if value else "false"
    if kind is float and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if kind is int and abs(value) >= 1 << 4096:  # Python refuses to write integers of more than 4,300 digits
        return "an integer of thousands of digits"
    text = _TYPE_NAMES.get(kind) or repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def decode_elements(dtype: DType, flat: list[Any], encoding: str | None = None) -> np.ndarray:
    """The one-dimensional array of `dtype` with the elements `flat`; for BYTES, `encoding` can be ``base64``.

    Raises ValueError with the first element that the type cannot represent.
    """
    if dtype.name == "BYTES":
        return _bytes(flat, encoding)
    if dtype.name == "BOOL":
        return _bools(flat)
    if dtype.name == "BF16" or dtype.numpy.kind == "f":
        return _floats(flat, dtype)
    return _integers(flat, dtype.numpy)


def encode_elements(dtype: DType, array: np.ndarray) -> tuple[list[str] | np.ndarray, str | None]:
    """The elements of `array`, row-major, and their encoding.

    Numbers are a flat C-contiguous array (BF16 as float32), BYTES a list of strings. The encoding is ``base64`` or
    None.
    """
    if dtype.name != "BYTES":
        return np.ascontiguousarray(bf16_to_f32(array) if dtype.name == "BF16" else array).reshape(-1), None
    elements = [each if isinstance(each, bytes) else str(each).encode() for each in array.ravel()]
    try:
        return [each.decode() for each in elements], None
    except UnicodeDecodeError:
        return [base64.b64encode(each).decode() for each in elements], BASE64


def _check_types(flat: list[Any], kinds: set[type], expected: str) -> set[type]:
    """The types of the elements. Raises ValueError for a type that is not in `kinds`."""
    found = set(map(type, flat))
    wrong = found - kinds
    if wrong:
        index = next(i for i, each in enumerate(flat) if type(each) in wrong)
        raise ValueError(f"element {index} is {describe_json_value(flat[index])}, not {expected}")
    return found


def _bools(flat: list[Any]) -> np.ndarray:
    _check_types(flat, {bool, int}, "true or false")
    if not set(flat) <= {0, 1}:
        raise ValueError("an element is neither true, false, 0 nor 1")
    return np.array(flat, dtype=np.bool_)


def _integers(flat: list[Any], dtype: np.dtype[Any]) -> np.ndarray:
    _check_types(flat, {int}, "an integer")
    bounds = np.iinfo(dtype)
    # NumPy 1.26 wraps values out of range, with a warning only
    if flat and (min(flat) < bounds.min or max(flat) > bounds.max):
        outside = next(each for each in flat if not bounds.min <= each <= bounds.max)
        raise ValueError(f"{describe_json_value(outside)} is outside {bounds.min} to {bounds.max}")
    return np.array(flat, dtype=dtype)


def _floats(flat: list[Any], dtype: DType) -> np.ndarray:
    kinds = _check_types(flat, {int, float, str}, "a number")
    if str in kinds:
        unknown = next((each for each in flat if type(each) is str and each not in _NAMED), None)
        if unknown is not None:
            raise ValueError(
                f"{describe_json_value(unknown)} is not a number (only 'NaN', 'Infinity' and '-Infinity' can be"
                " strings)"
            )
        flat = [_NAMED[each] if type(each) is str else each for each in flat]
    try:
        exact = np.array(flat, dtype=np.float64)
    except OverflowError:  # an integer of more than 308 digits
        raise ValueError("an element is too large") from None
    with np.errstate(over="ignore"):
        if dtype.name == "BF16":
            array = f32_to_bf16(exact.astype(np.float32))
            rounded = bf16_to_f32(array)
        else:
            array = rounded = exact.astype(dtype.numpy, copy=False)
    lost = np.isinf(rounded) & np.isfinite(exact)
    if lost.any():
        raise ValueError(f"{exact[lost][0]:g} is too large")
    return array


def _bytes(flat: list[Any], encoding: str | None) -> np.ndarray:
    _check_types(flat, {str}, "text")
    if encoding not in (None, "utf-8", BASE64):
        raise ValueError(f"content_encoding is {describe_json_value(encoding)}, not 'utf-8' or 'base64'")
    array = np.empty(len(flat), dtype=object)
    try:
        if encoding == BASE64:
            array[:] = [base64.b64decode(each, validate=True) for each in flat]
        else:
            array[:] = [each.encode() for each in flat]
    except UnicodeEncodeError:
        raise ValueError("an element has half of a surrogate pair, which is not valid text") from None
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"an element is not valid base64: {error}") from None
    return array
