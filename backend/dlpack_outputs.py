"""Reads the output tensors that a ``dlpack`` guest left in its memory. Nothing that the guest wrote is trusted."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from .bytes_tensor import deserialize, object_array
from .dlpack_layout import CPU, STRUCT, Layout
from .dtypes import BYTES
from .errors import AbiViolation
from .interface import TensorSpec

MAX_RANK = 8
# Any: type checkers take an array for a buffer only from NumPy 2 on
_unpack_tensor: Any = STRUCT.unpack_from
_unpack_i64: list[Any] = [struct.Struct(f"<{count}q").unpack_from for count in range(MAX_RANK + 1)]


def read(memory: np.ndarray, layout: Layout, base: int, index: int, spec: TensorSpec, rows: int | None) -> np.ndarray:
    """Output `index` as a view of `memory` (BYTES: as new objects). Raises AbiViolation saying what is false."""
    where = f"output '{spec.name}'"
    data, device, _, ndim, code, bits, lanes, shape_at, strides, offset = _unpack_tensor(
        memory, base + layout.outputs_at() + STRUCT.size * index
    )
    if device != CPU:
        raise AbiViolation(f"{where} is on device type {device}, not {CPU} (kDLCPU)")
    if code != spec.dtype.code or bits != spec.dtype.bits or lanes != 1:
        raise AbiViolation(
            f"{where} has DLPack type code {code}, {bits} bits, {lanes} lanes; {spec.dtype} is code {spec.dtype.code},"
            f" {spec.dtype.bits} bits, 1 lane"
        )
    if ndim < 0:
        raise AbiViolation(f"{where} was not set by the guest (its ndim is still {ndim})")
    shape = _sizes(memory, shape_at, ndim, where)
    nbytes = math.prod(shape) * spec.dtype.itemsize
    if nbytes and data + offset + nbytes > memory.size:
        raise AbiViolation(
            f"{where} points outside the guest's memory: {nbytes} bytes at {data + offset:#x}, memory is {memory.size}"
            " bytes"
        )
    start = data + offset if nbytes else 0
    raw = memory[start : start + nbytes]
    if spec.dtype is BYTES:
        return _bytes_output(memory, raw, ndim, strides, spec, rows, where)
    _check_shape(shape, spec, rows, where)
    if strides:
        _check_strides(memory, strides, shape, where)
    return raw.view(spec.dtype.numpy).reshape(shape)


def shapes(memory: np.ndarray, layout: Layout, base: int, count: int) -> list[np.ndarray] | None:
    """Where the shapes of the outputs lie, as bytes, after `read` has checked them. None where more than the structs
    and these decides what is read: BYTES, and strides."""
    found = []
    for index in range(count):
        *_, ndim, _, _, _, shape_at, strides, _ = _unpack_tensor(
            memory, base + layout.outputs_at() + STRUCT.size * index
        )
        if strides or layout.slots[layout.inputs + index].dtype is BYTES:
            return None
        found.append(memory[shape_at : shape_at + 8 * ndim])
    return found


def _sizes(memory: np.ndarray, at: int, count: int, where: str) -> tuple[int, ...]:
    if count > MAX_RANK:
        raise AbiViolation(f"{where} has rank {count}; at most {MAX_RANK} is allowed")
    if at + 8 * count > memory.size:
        raise AbiViolation(f"{where} has its shape at {at:#x}, outside the guest's memory of {memory.size} bytes")
    sizes: tuple[int, ...] = _unpack_i64[count](memory, at)
    if count and min(sizes) < 0:
        raise AbiViolation(f"{where} has a negative size in its shape {list(sizes)}")
    return sizes


def _check_shape(shape: tuple[int, ...], spec: TensorSpec, rows: int | None, where: str) -> None:
    wanted = spec.dims if rows is None else (rows, *spec.dims)
    if shape == wanted:
        return
    if len(shape) != len(wanted) or any(w not in (-1, s) for s, w in zip(shape, wanted)):
        batch = "" if rows is None else f" (the first is the batch of {rows})"
        raise AbiViolation(f"{where} has shape {list(shape)}; the interface says {list(wanted)}{batch}")


def _check_strides(memory: np.ndarray, at: int, shape: tuple[int, ...], where: str) -> None:
    if at + 8 * len(shape) > memory.size:
        raise AbiViolation(f"{where} has its strides at {at:#x}, outside the guest's memory of {memory.size} bytes")
    strides = _unpack_i64[len(shape)](memory, at)
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides)):
        if size > 1 and stride != step:
            raise AbiViolation(f"{where} has strides {list(strides)}; only row-major tensors are allowed")
        step *= max(size, 1)


def _bytes_output(
    memory: np.ndarray, raw: np.ndarray, ndim: int, logical: int, spec: TensorSpec, rows: int | None, where: str
) -> np.ndarray:
    if ndim != 1:
        raise AbiViolation(f"{where} is BYTES, so it must be a vector of bytes, not of rank {ndim}")
    try:
        elements = deserialize(raw.tobytes())
    except ValueError as error:
        raise AbiViolation(f"{where} is not serialised BYTES: {error}") from None
    if logical:
        (rank,) = _sizes(memory, logical, 1, where)
        shape = _sizes(memory, logical + 8, rank, where)
    else:
        shape = _default_shape(len(elements), spec, rows)
    if math.prod(shape) != len(elements):
        raise AbiViolation(f"{where} has {len(elements)} elements, but its shape is {list(shape)}")
    _check_shape(shape, spec, rows, where)
    return object_array(elements, shape)


def _default_shape(count: int, spec: TensorSpec, rows: int | None) -> tuple[int, ...]:
    """The shape of a BYTES output that gives none: the interface's, where one unknown size follows from the count."""
    wanted = list(spec.dims if rows is None else (rows, *spec.dims))
    known = math.prod(d for d in wanted if d > 0)
    if wanted.count(-1) == 1 and known and count % known == 0:
        wanted[wanted.index(-1)] = count // known
    return tuple(wanted) if -1 not in wanted else (count,)
