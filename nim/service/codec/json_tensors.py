"""Tensors between JSON and NumPy. A value that the data type cannot represent is an error, never a silent change."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np

from ..request_errors import input_error
from ..runtime_api import TensorSpec, decode_elements, describe_json_value, encode_elements
from .inference_schema import Tensor, V2Tensor
from .json_codec import json_numbers
from .tensor_checks import checked_dtype, checked_shape


def decode_tensor(tensor: Tensor | V2Tensor, spec: TensorSpec) -> np.ndarray:
    """The array of `tensor`, with the dtype and rank that the runtime expects for `spec` (BF16 as uint16 bits, BYTES as
    objects). Raises RequestError with status 400 that names the tensor and the problem."""
    label, kind = f"input '{tensor.name}'", spec.dtype.name
    checked_dtype(label, tensor.datatype, spec)
    shape = checked_shape(label, tensor.shape)
    flat = _flat(tensor.data, shape, label)
    encoding = tensor.parameters.content_encoding if tensor.parameters is not None else None
    try:
        return decode_elements(spec.dtype, flat, encoding).reshape(shape)
    except ValueError as error:
        raise input_error(f"{label} ({kind}): {error}") from None


def encode_tensor(spec: TensorSpec, array: np.ndarray) -> dict[str, Any]:
    """The JSON object of an output for `write_json`: its data is flat and row-major."""
    document: dict[str, Any] = {"name": spec.name, "datatype": spec.dtype.name, "shape": array.shape}
    data, encoding = encode_elements(spec.dtype, array)
    if encoding is not None:
        document["parameters"] = {"content_encoding": encoding}
    document["data"] = json_numbers(data) if isinstance(data, np.ndarray) else data
    return document


def _flat(data: Any, shape: tuple[int, ...], label: str) -> list[Any]:
    """The elements of `data`, flat or nested as `shape` declares, as a flat, row-major list."""
    if type(data) is not list:
        raise input_error(f"{label}: data: expected a list, got {describe_json_value(data)}")
    flat: list[Any] = data
    if flat and isinstance(flat[0], list):
        for axis, size in enumerate(shape[1:], 1):
            if any(type(row) is not list or len(row) != size for row in flat):
                raise input_error(f"{label}: the nesting of data does not match shape {list(shape)} at axis {axis}")
            flat = list(chain.from_iterable(flat))
    count = math.prod(shape)
    if len(flat) != count:
        raise input_error(f"{label}: shape {list(shape)} has {count} elements, but data has {len(flat)}")
    return flat
