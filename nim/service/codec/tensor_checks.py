"""Checks of the tensors that a request declares, and their errors: the same over HTTP and gRPC."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..request_errors import RequestError, input_error
from ..runtime_api import InputError, Interface, RequestChecker, TensorSpec, check_rows
from .scalars import ScalarTensors

MAX_RANK = 32
"""Maximum rank of a tensor: NumPy's own before its version 2."""
MAX_ELEMENTS = 1 << 60
"""Elements of 8 bytes each still have a size that fits into 63 bits."""
MAX_LARGE_ELEMENTS = 1 << 48
"""Maximum number of elements of an input of a large request."""
MAX_BYTES_ELEMENTS = 1 << 20
"""Maximum number of elements of a BYTES input of a large request: each is a Python object."""


def checked_shape(label: str, shape: Sequence[int]) -> tuple[int, ...]:
    """`shape`, if NumPy supports it. Raises RequestError with status 400, which begins with `label`."""
    if len(shape) > MAX_RANK:
        raise input_error(f"{label} has rank {len(shape)}; at most {MAX_RANK} is allowed")
    if shape and min(shape) < 0:
        raise input_error(f"{label} has shape {list(shape)}; expected sizes of at least 0")
    # NumPy multiplies the other sizes even if one of them is 0
    if math.prod(size or 1 for size in shape) >= MAX_ELEMENTS:
        raise _too_large(label, shape)
    return tuple(shape)


def checked_dtype(label: str, datatype: str, spec: TensorSpec) -> None:
    """Raise RequestError with status 400 unless `datatype` is that of `spec`."""
    if datatype != spec.dtype.name:
        raise input_error(f"{label} has datatype {datatype[:40]!r}; expected {spec.dtype.name}")


def check_metadata(interface: Interface, declared: Mapping[str, tuple[str, Sequence[int]]]) -> None:
    """Check data types and shapes, by the names of existing inputs, against the interface before data is converted.

    The runtime makes the same checks, but on arrays. Raises RequestError with status 400.
    """
    placeholders: dict[str, np.ndarray] = {}
    scalars = ScalarTensors(interface)
    for spec in interface.inputs:
        if spec.name in declared:
            label, (datatype, shape) = f"input '{spec.name}'", declared[spec.name]
            checked_dtype(label, datatype, spec)
            sizes = checked_shape(label, shape)
            if math.prod(size or 1 for size in sizes) >= MAX_LARGE_ELEMENTS:
                raise _too_large(label, shape)
            if spec.dtype.name == "BYTES" and math.prod(sizes) > MAX_BYTES_ELEMENTS:
                text = f"has {math.prod(sizes)} elements; the maximum for a BYTES tensor is {MAX_BYTES_ELEMENTS}"
                raise input_error(f"{label} {text}")
            # one element, broadcast to the shape
            module_shape = scalars.module_shape(spec.name, sizes)
            placeholders[spec.name] = np.broadcast_to(np.zeros((), dtype=spec.dtype.numpy), module_shape)
    try:
        check_rows(interface, RequestChecker(interface).check(placeholders))
    except InputError as error:
        raise input_error(str(error)) from None


def unexpected_input(name: str, known: Iterable[str]) -> RequestError:
    """The request has an input that is not in `known`, the inputs of the model, or has it twice."""
    if name in known:
        return input_error(f"input '{name}' appears twice")
    return input_error(f"unknown input {name[:128]!r}; the inputs are {', '.join(known)}")


def unknown_output(name: str, known: Iterable[str]) -> RequestError:
    """The request asks for an output that is not in `known`, the outputs of the model."""
    return input_error(f"unknown output {name[:128]!r}; the outputs are {', '.join(known)}")


def _too_large(label: str, shape: Sequence[int]) -> RequestError:
    return input_error(f"{label} has shape {list(shape)}, which is too large")
