"""Tensors between JSON and NumPy, without a silent change: a value that the data type cannot hold is refused."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np

from ..request_errors import input_error
from ..runtime_api import TensorSpec, describe_json_value, json_data
from .inference_schema import Tensor, V2Tensor
from .json_codec import numbers
from .raw_tensors import checked_dtype, checked_shape


def decode(tensor: Tensor | V2Tensor, spec: TensorSpec) -> np.ndarray:
    """The array that `tensor` says, of the dtype and rank that the runtime takes for `spec` (BF16 as uint16 bits, BYTES
    as objects). Raises RequestError with status 400 that names the tensor and what is wrong with it."""
    where, wanted = f"input '{tensor.name}'", spec.dtype.name
    checked_dtype(where, tensor.datatype, spec)
    shape = checked_shape(where, tensor.shape)
    flat = _flat(tensor.data, shape, where)
    encoding = tensor.parameters.content_encoding if tensor.parameters is not None else None
    try:
        return json_data.decode_elements(spec.dtype, flat, encoding).reshape(shape)
    except ValueError as problem:
        raise input_error(f"{where} ({wanted}): {problem}") from None


def encode(spec: TensorSpec, array: np.ndarray) -> dict[str, Any]:
    """`array` as the JSON of an output: flat, row-major. It is for `jsonio.written`."""
    told: dict[str, Any] = {"name": spec.name, "datatype": spec.dtype.name, "shape": array.shape}
    data, encoding = json_data.encode_elements(spec.dtype, array)
    if encoding is not None:
        told["parameters"] = {"content_encoding": encoding}
    told["data"] = numbers(data) if isinstance(data, np.ndarray) else data
    return told


def _flat(data: Any, shape: tuple[int, ...], where: str) -> list[Any]:
    """The elements, row-major, as many as the shape has."""
    if type(data) is not list:
        raise input_error(f"{where}: data must be a list, not {describe_json_value(data)}")
    flat: list[Any] = data
    if flat and isinstance(flat[0], list):
        for axis, size in enumerate(shape[1:], 1):
            if any(type(row) is not list or len(row) != size for row in flat):
                raise input_error(f"{where}: data is nested otherwise than shape {list(shape)} says, at axis {axis}")
            flat = list(chain.from_iterable(flat))
    count = math.prod(shape)
    if len(flat) != count:
        raise input_error(f"{where}: shape {list(shape)} has {count} elements, data has {len(flat)}")
    return flat
