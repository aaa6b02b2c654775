"""Tensors between JSON and NumPy, without a silent change: a value that the data type cannot hold is refused."""

from __future__ import annotations

import base64
import binascii
import math
from itertools import chain
from typing import Any

import numpy as np

from .problems import bad_input
from .runtime import TensorSpec, bf16_to_f32, f32_to_bf16
from .schema import Tensor, TensorParameters, V2Tensor
from .wire import checked_dtype, checked_shape

# JSON has no such numbers; these are their names in protobuf's JSON, and those that Python writes
_NAMED = {name: float(name) for name in ("NaN", "Infinity", "-Infinity", "nan", "inf", "-inf")}


def decode(tensor: Tensor | V2Tensor, spec: TensorSpec) -> np.ndarray:
    """The array that `tensor` says, of the dtype and rank that the runtime takes for `spec` (BF16 as uint16 bits, BYTES
    as objects). Raises Problem with status 400 that names the tensor and what is wrong with it."""
    where, wanted = f"input '{tensor.name}'", spec.dtype.name
    checked_dtype(where, tensor.datatype, spec)
    shape = checked_shape(where, tensor.shape)
    flat = _flat(tensor.data, shape, where)
    try:
        if wanted == "BYTES":
            array = _bytes(flat, tensor.parameters)
        elif wanted == "BOOL":
            array = _bools(flat)
        elif spec.dtype.numpy.kind == "f" or wanted == "BF16":
            array = _floats(flat, np.dtype(np.float32) if wanted == "BF16" else spec.dtype.numpy)
            array = f32_to_bf16(array) if wanted == "BF16" else array
        else:
            array = _integers(flat, spec.dtype.numpy)
        return array.reshape(shape)
    except (ValueError, TypeError, OverflowError) as problem:
        raise bad_input(f"{where} ({wanted}): {problem}") from None


def encode(spec: TensorSpec, array: np.ndarray) -> dict[str, Any]:
    """`array` as the JSON of an output: flat, row-major. Its data are a list or an array for `jsonio.written`."""
    told: dict[str, Any] = {"name": spec.name, "datatype": spec.dtype.name, "shape": array.shape}
    if spec.dtype.name == "BYTES":
        elements = [each if isinstance(each, bytes) else str(each).encode() for each in array.ravel()]
        try:
            return {**told, "data": [each.decode() for each in elements]}
        except UnicodeDecodeError:
            data = [base64.b64encode(each).decode() for each in elements]
            return {**told, "parameters": {"content_encoding": "base64"}, "data": data}
    values = bf16_to_f32(array) if spec.dtype.name == "BF16" else array
    told["data"] = np.ascontiguousarray(values).reshape(-1)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        told["data"] = [each if math.isfinite(each) else _name(each) for each in told["data"].tolist()]
    return told


def _name(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _flat(data: Any, shape: tuple[int, ...], where: str) -> list[Any]:
    """The elements, row-major, as many as the shape has."""
    if type(data) is not list:
        raise bad_input(f"{where}: data must be a list")
    flat: list[Any] = data
    if flat and isinstance(flat[0], list):
        for axis, size in enumerate(shape[1:], 1):
            if any(type(row) is not list or len(row) != size for row in flat):
                raise bad_input(f"{where}: data is nested otherwise than shape {list(shape)} says, at axis {axis}")
            flat = list(chain.from_iterable(flat))
    count = math.prod(shape)
    if len(flat) != count:
        raise bad_input(f"{where}: shape {list(shape)} has {count} elements, data has {len(flat)}")
    return flat


def _only(flat: list[Any], kinds: set[type], what: str) -> set[type]:
    """The types of the elements, which must be among `kinds`."""
    found = set(map(type, flat))
    wrong = found - kinds
    if wrong:
        index = next(i for i, each in enumerate(flat) if type(each) in wrong)
        raise ValueError(f"element {index} is {str(flat[index])[:40]!r}, not {what}")
    return found


def _bools(flat: list[Any]) -> np.ndarray:
    _only(flat, {bool, int}, "true or false")
    if not set(flat) <= {0, 1}:
        raise ValueError("an element is neither true, false, 0 nor 1")
    return np.array(flat, dtype=np.bool_)


def _integers(flat: list[Any], dtype: np.dtype[Any]) -> np.ndarray:
    _only(flat, {int}, "an integer")
    bounds = np.iinfo(dtype)
    # NumPy 1.26 wraps what does not fit, with a warning only
    if flat and (min(flat) < bounds.min or max(flat) > bounds.max):
        outside = next(each for each in flat if not bounds.min <= each <= bounds.max)
        raise ValueError(f"{str(outside)[:40]} is outside {bounds.min} to {bounds.max}")
    return np.array(flat, dtype=dtype)


def _floats(flat: list[Any], dtype: np.dtype[Any]) -> np.ndarray:
    kinds = _only(flat, {int, float, str}, "a number")
    if str in kinds:
        unknown = [each for each in flat if type(each) is str and each not in _NAMED]
        if unknown:
            raise ValueError(f"{unknown[0][:40]!r} is no number (only 'NaN', 'Infinity' and '-Infinity' are text)")
        flat = [_NAMED[each] if type(each) is str else each for each in flat]
    exact = np.array(flat, dtype=np.float64)
    if dtype == np.float64:
        return exact
    with np.errstate(over="ignore"):
        array = exact.astype(dtype)
    infinite = np.isinf(array)
    if infinite.any():
        lost = infinite & np.isfinite(exact)
        if lost.any():
            raise ValueError(f"{exact[lost][0]:g} is too large")
    return array


def _bytes(flat: list[Any], parameters: TensorParameters | None) -> np.ndarray:
    _only(flat, {str}, "text")
    array = np.empty(len(flat), dtype=object)
    if parameters is not None and parameters.content_encoding == "base64":
        try:
            array[:] = [base64.b64decode(each, validate=True) for each in flat]
        except binascii.Error as problem:
            raise ValueError(f"an element is no base64: {problem}") from None
    else:
        try:
            array[:] = [each.encode() for each in flat]
        except UnicodeEncodeError:
            raise ValueError("an element has half of a surrogate pair, which is no text") from None
    return array
