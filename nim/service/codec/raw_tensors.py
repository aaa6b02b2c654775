"""Tensors as the raw bytes that the Open Inference Protocol sends: over gRPC, and in HTTP's binary extension.

Numbers are little-endian and row-major; a BYTES tensor has a 32-bit length before each element.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..request_errors import input_error
from ..runtime_api import (
    InputError,
    Interface,
    RequestChecker,
    TensorSpec,
    check_rows,
    deserialize,
    object_array,
    serialize,
)

MAX_RANK = 32  # NumPy's own, before its version 2
MAX_ELEMENTS = 1 << 60  # eight bytes each still fit into 63 bits
MAX_BYTES_ELEMENTS = 1 << 20
"""Of one BYTES input of a large request: each is a Python object."""


def checked_shape(where: str, shape: Sequence[int]) -> tuple[int, ...]:
    """`shape`, if NumPy can have it. Raises RequestError with status 400."""
    if len(shape) > MAX_RANK:
        raise input_error(f"{where} has rank {len(shape)}; at most {MAX_RANK} is allowed")
    if shape and min(shape) < 0:
        raise input_error(f"{where} has shape {list(shape)}; a size is at least 0")
    # A size of 0 means no elements, yet NumPy multiplies the other sizes all the same.
    if math.prod(size or 1 for size in shape) >= MAX_ELEMENTS:
        raise input_error(f"{where} has shape {list(shape)}, which is too large")
    return tuple(shape)


def check_heads(interface: Interface, heads: Mapping[str, tuple[str, Sequence[int]]]) -> None:
    """Check data types and shapes, by input name, against the interface, before any data is converted.

    The runtime makes the same checks, but needs arrays. Raises RequestError with status 400.
    """
    stand_ins: dict[str, np.ndarray] = {}
    for spec in interface.inputs:
        if spec.name in heads:
            where, (datatype, shape) = f"input '{spec.name}'", heads[spec.name]
            checked_dtype(where, datatype, spec)
            sizes = checked_shape(where, shape)
            if math.prod(size or 1 for size in sizes) >= 1 << 48:
                raise input_error(f"{where} has shape {list(shape)}, which is too large")
            if spec.dtype.name == "BYTES" and math.prod(sizes) > MAX_BYTES_ELEMENTS:
                text = f"{math.prod(sizes)} elements; a request may have {MAX_BYTES_ELEMENTS} of BYTES in a tensor"
                raise input_error(f"{where} has {text}")
            # one element, seen as many
            stand_ins[spec.name] = np.broadcast_to(np.zeros((), dtype=spec.dtype.numpy), sizes)
    try:
        check_rows(interface, RequestChecker(interface).check(stand_ins))
    except InputError as problem:
        raise input_error(str(problem)) from None


def checked_dtype(where: str, datatype: str, spec: TensorSpec) -> None:
    """Raises RequestError with status 400 where `datatype` is not the one of `spec`."""
    if datatype != spec.dtype.name:
        raise input_error(f"{where} has datatype {datatype[:40]!r}; the model takes {spec.dtype.name}")


def from_raw(spec: TensorSpec, shape: Sequence[int], data: bytes | memoryview) -> np.ndarray:
    """The array of `shape` that `data` holds, in the dtype of `spec` (BF16 as uint16 bits, BYTES as objects).

    Numbers are a view of `data`, without a copy. Raises RequestError with status 400 if the size of `data` does not
    match the shape, a BYTES length exceeds the data, or a BOOL is neither 0 nor 1.
    """
    where = f"input '{spec.name}'"
    sizes = checked_shape(where, shape)
    count = math.prod(sizes)
    if spec.dtype.name == "BYTES":
        try:
            elements = deserialize(data)
        except ValueError as problem:
            raise input_error(f"{where} (BYTES): {problem}") from None
        if len(elements) != count:
            raise input_error(f"{where}: shape {list(sizes)} has {count} elements, its data have {len(elements)}")
        return object_array(elements, sizes)
    dtype = spec.dtype.numpy
    if len(data) != count * dtype.itemsize:
        wanted = count * dtype.itemsize
        raise input_error(
            f"{where} ({spec.dtype.name}): shape {list(sizes)} needs {wanted} bytes of data, not {len(data)}"
        )
    if dtype.kind == "b":
        octets = np.frombuffer(data, dtype=np.uint8)
        if octets.size and octets.max() > 1:
            raise input_error(f"{where} (BOOL): a byte is neither 0 nor 1")
        return octets.view(dtype).reshape(sizes)
    return np.frombuffer(data, dtype=dtype).reshape(sizes)


def to_raw(spec: TensorSpec, array: np.ndarray) -> bytes:
    """`array`, an output of the runtime, as raw bytes."""
    if spec.dtype.name == "BYTES":
        return serialize(array.ravel().tolist())
    return array.tobytes()
