"""Tensors as raw bytes, as the Open Inference Protocol sends them: over gRPC, and in HTTP's binary extension.

Numbers are little-endian and row-major. In a BYTES tensor, a 32-bit length precedes each element.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..request_errors import input_error
from ..runtime_api import TensorSpec, deserialize, object_array, serialize
from .tensor_checks import checked_shape


def from_raw(spec: TensorSpec, shape: Sequence[int], data: bytes | memoryview) -> np.ndarray:
    """The array of `shape` in `data`, in the dtype of `spec` (BF16 as uint16 bits, BYTES as objects).

    Numbers are a view of `data`, without a copy. Raises RequestError with status 400 if the size of `data` does not
    match the shape, a BYTES length exceeds the data, or a BOOL is neither 0 nor 1.
    """
    label = f"input '{spec.name}'"
    sizes = check_raw_size(spec, shape, len(data))
    if spec.dtype.name == "BYTES":
        count = math.prod(sizes)
        try:
            elements = deserialize(data)
        except ValueError as error:
            raise input_error(f"{label} (BYTES): {error}") from None
        if len(elements) != count:
            raise input_error(f"{label}: shape {list(sizes)} has {count} elements, but its data has {len(elements)}")
        return object_array(elements, sizes)
    dtype = spec.dtype.numpy
    if dtype.kind == "b":
        octets = np.frombuffer(data, dtype=np.uint8)
        if octets.size and octets.max() > 1:
            raise input_error(f"{label} (BOOL): a byte is neither 0 nor 1")
        return octets.view(dtype).reshape(sizes)
    return np.frombuffer(data, dtype=dtype).reshape(sizes)


def check_raw_size(spec: TensorSpec, shape: Sequence[int], size: int) -> tuple[int, ...]:
    """`shape`, if a tensor of it can have `size` bytes of data: numbers have one size only. Raises RequestError with
    status 400."""
    label, kind, dtype = f"input '{spec.name}'", spec.dtype.name, spec.dtype.numpy
    sizes = checked_shape(label, shape)
    expected = math.prod(sizes) * dtype.itemsize
    if kind != "BYTES" and size != expected:
        raise input_error(f"{label} ({kind}): expected {expected} bytes of data for shape {list(sizes)}, got {size}")
    return sizes


def to_raw(spec: TensorSpec, array: np.ndarray) -> bytes:
    """The raw bytes of `array`, an output of the runtime."""
    if spec.dtype.name == "BYTES":
        return serialize(array.ravel().tolist())
    return array.tobytes()


def raw_view(spec: TensorSpec, array: np.ndarray) -> bytes | memoryview:
    """The raw bytes of `array`, without a copy of numbers that are contiguous."""
    if spec.dtype.name == "BYTES" or not array.size:
        return to_raw(spec, array)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
