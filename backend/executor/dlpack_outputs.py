"""Reads the output tensors that a ``dlpack`` guest left in its memory. Nothing that the guest wrote is trusted."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..batch.bytes_tensor import TooManyElements, deserialize, object_array
from ..errors import AbiViolation, GuestError
from ..interface.dtypes import BOOL_TENSOR, BYTES, true_or_false
from ..interface.interface import TensorSpec
from ..limits import Limits
from ..shapes import MAX_RANK, shape_problem
from ..terms import Terms
from .dlpack_layout import CPU, STRUCT, Layout

# Any: type checkers take an array for a buffer only from NumPy 2 on
_unpack_tensor: Any = STRUCT.unpack_from
_unpack_i64: list[Any] = [struct.Struct(f"<{count}q").unpack_from for count in range(MAX_RANK + 1)]


@dataclass(frozen=True)
class Bounds:
    """What reading the outputs of a call may cost, and how errors name that; `check_deadline` raises GuestTimeout."""

    limits: Limits
    terms: Terms
    check_deadline: Callable[[], None]


@dataclass(frozen=True)
class _Found:
    """An output as its struct describes it, inside the memory. ``strides`` is an address, 0 for none."""

    where: str
    spec: TensorSpec
    shape: tuple[int, ...]
    strides: int
    start: int
    nbytes: int


def read(
    memory: np.ndarray, layout: Layout, base: int, specs: Sequence[TensorSpec], rows: int | None, bounds: Bounds
) -> list[np.ndarray]:
    """The outputs as views of `memory` (BYTES: as new objects). Raises AbiViolation saying what is false, GuestError
    for more than the limits allow, GuestTimeout past the deadline."""
    found = [_find(memory, layout, base, index, spec) for index, spec in enumerate(specs)]
    total, limit = sum(each.nbytes for each in found), bounds.limits.max_tensor_bytes
    if total > limit:
        raise GuestError(
            f"the outputs have {total} bytes, more than the limit of {limit}"
            f" ({bounds.terms.raising('max_tensor_bytes')}, or send smaller batches)"
        )
    return [_array(memory, each, rows, bounds) for each in found]


def _find(memory: np.ndarray, layout: Layout, base: int, index: int, spec: TensorSpec) -> _Found:
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
    _check_sizes(shape, where)
    return _Found(where, spec, shape, strides, data + offset if nbytes else 0, nbytes)


def _array(memory: np.ndarray, found: _Found, rows: int | None, bounds: Bounds) -> np.ndarray:
    spec, raw = found.spec, memory[found.start : found.start + found.nbytes]
    if spec.dtype is BYTES:
        return _bytes_output(memory, raw, found, rows, bounds)
    _check_shape(found.shape, spec, rows, found.where)
    if found.strides:
        _check_strides(memory, found.strides, found.shape, found.where)
    array = raw.view(spec.dtype.numpy).reshape(found.shape)
    return true_or_false(array) if spec.dtype is BOOL_TENSOR else array


def shapes(memory: np.ndarray, layout: Layout, base: int, count: int) -> list[np.ndarray] | None:
    """Where the shapes of the outputs lie, as bytes, after `read` has checked them. None where more than the structs
    and these decides what is read: BYTES, BOOL, and strides."""
    found = []
    for index in range(count):
        *_, ndim, _, _, _, shape_at, strides, _ = _unpack_tensor(
            memory, base + layout.outputs_at() + STRUCT.size * index
        )
        if strides or layout.slots[layout.inputs + index].dtype in (BYTES, BOOL_TENSOR):
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


def _check_sizes(shape: tuple[int, ...], where: str) -> None:
    problem = shape_problem(shape)
    if problem:
        raise AbiViolation(f"{where} {problem}")


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


def _bytes_output(memory: np.ndarray, raw: np.ndarray, found: _Found, rows: int | None, bounds: Bounds) -> np.ndarray:
    where, spec, logical = found.where, found.spec, found.strides
    if len(found.shape) != 1:
        raise AbiViolation(f"{where} is BYTES, so it must be a vector of bytes, not of rank {len(found.shape)}")
    wanted = spec.dims if rows is None else (rows, *spec.dims)
    shape: tuple[int, ...] | None = wanted if -1 not in wanted else None
    if logical:
        (rank,) = _sizes(memory, logical, 1, where)
        shape = _sizes(memory, logical + 8, rank, where)
        _check_sizes(shape, where)
        _check_shape(shape, spec, rows, where)
    limit = bounds.limits.max_bytes_elements
    count = None if shape is None else math.prod(shape)
    try:
        elements = deserialize(raw.data, limit if count is None else min(limit, count), bounds.check_deadline)
    except TooManyElements:
        if count is None or count > limit:
            raise GuestError(
                f"{where} has more than {limit} elements, its limit"
                f" ({bounds.terms.raising('max_bytes_elements')}, or send smaller batches)"
            ) from None
        raise AbiViolation(f"{where} has more than {count} elements, but its shape is {list(shape or ())}") from None
    except ValueError as error:
        raise AbiViolation(f"{where} is not serialised BYTES: {error}") from None
    if shape is None:
        shape = _default_shape(len(elements), spec, rows)
        _check_shape(shape, spec, rows, where)
    if math.prod(shape) != len(elements):
        raise AbiViolation(f"{where} has {len(elements)} elements, but its shape is {list(shape)}")
    return object_array(elements, shape)


def _default_shape(count: int, spec: TensorSpec, rows: int | None) -> tuple[int, ...]:
    """The shape of a BYTES output that gives none: the interface's, where one unknown size follows from the count."""
    wanted = list(spec.dims if rows is None else (rows, *spec.dims))
    known = math.prod(d for d in wanted if d > 0)
    if wanted.count(-1) == 1 and known and count % known == 0:
        wanted[wanted.index(-1)] = count // known
    return tuple(wanted) if -1 not in wanted else (count,)
