"""Checks the tensors of a request against the interface before a guest receives them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..constants import MAX_RANK
from ..errors import InputError
from ..interface.dtypes import BF16, BYTES
from ..interface.interface import Convention, Interface, TensorSpec

Arrays = list["np.ndarray | None"]


class RequestChecker:
    """Checks names and data types of tensors against an interface. The adapter checks shapes."""

    def __init__(self, interface: Interface) -> None:
        self._inputs = tuple((spec, spec.dtype.numpy) for spec in interface.inputs)

    def check(self, inputs: Mapping[str, object]) -> Arrays:
        """The arrays in interface order, None for absent ones. Raises InputError with all problems."""
        problems: list[str] = []
        arrays: Arrays = []
        matched = 0
        for spec, expected in self._inputs:
            value = inputs.get(spec.name)
            if value is None:
                if not spec.optional:
                    problems.append(f"input '{spec.name}' is missing")
                arrays.append(None)
                continue
            matched += 1
            if type(value) is np.ndarray and value.dtype is expected:
                arrays.append(value)
            else:
                arrays.append(self._array(spec, value, problems))
        if matched != len(inputs):
            names = sorted(spec.name for spec, _ in self._inputs)
            known = ", ".join(f"'{name}'" for name in names)
            unknown = sorted(set(inputs).difference(names))
            problems += [f"unknown input '{name}' (the inputs are {known})" for name in unknown]
        if problems:
            raise InputError("; ".join(problems))
        return arrays

    @staticmethod
    def _array(spec: TensorSpec, value: object, problems: list[str]) -> np.ndarray | None:
        expected = spec.dtype.numpy
        if not isinstance(value, np.ndarray):
            try:
                value = np.asarray(value, dtype=expected)
            except (TypeError, ValueError, OverflowError) as error:
                problems.append(f"input '{spec.name}' cannot be read as {spec.dtype}: {error}")
                return None
        if value.dtype != expected and value.dtype.newbyteorder("=") == expected:
            value = value.astype(expected)  # to native byte order
        if value.dtype != expected and not (spec.dtype is BYTES and value.dtype.kind in "SU"):
            hint = " (BF16 tensors are raw bits in a uint16 array)" if spec.dtype is BF16 else ""
            problems.append(
                f"input '{spec.name}' has dtype {value.dtype.name}, not {expected.name} ({spec.dtype}){hint}"
            )
            return None
        return value


def check_rows(interface: Interface, arrays: Arrays) -> None:
    """Check shapes without the adapter, by the same rules and with the same messages.

    It is used for commands, which have no adapter, and for large requests before their data are read. Raises InputError
    with all problems.
    """
    shapes = [(spec, array.shape) for spec, array in zip(interface.inputs, arrays) if array is not None]
    problems = [problem for spec, shape in shapes if (problem := _shape_problem(interface, spec, shape))]
    if not problems and shapes and is_exact(interface) and interface.max_batch_size:
        rows = shapes[0][1][0]
        if any(shape[0] != rows for _, shape in shapes):
            counts = ", ".join(f"'{spec.name}' {shape[0]}" for spec, shape in shapes)
            problems.append(f"the inputs have different batch sizes: {counts}")
        if rows > interface.max_batch_size:
            problems.append(f"the batch of {rows} is larger than the maximum of {interface.max_batch_size}")
    if problems:
        raise InputError("; ".join(problems))


def is_exact(interface: Interface) -> bool:
    """Whether shapes must equal the declared ones. Other conventions broadcast over any leading dimensions."""
    return interface.convention in (Convention.DLPACK, Convention.COMMAND)


def _shape_problem(interface: Interface, spec: TensorSpec, shape: tuple[int, ...]) -> str:
    if len(shape) > MAX_RANK:
        return f"input '{spec.name}' has rank {len(shape)}; at most {MAX_RANK} is allowed"
    if interface.convention is Convention.GUFUNC:
        return ""  # the check of the signature names the dimensions
    lead, batch = len(shape) - len(spec.dims), is_exact(interface) and interface.max_batch_size > 0
    if is_exact(interface):
        fits = lead == batch
    else:
        fits = lead >= 0 or not shape or all(dim == -1 for dim in spec.dims)
    if fits and all(dim in (-1, size) for dim, size in zip(spec.dims, shape[max(lead, 0) :])):
        return ""
    after = " after the batch dimension" if batch else ""
    return f"input '{spec.name}' has shape {list(shape)}; it must be {list(spec.dims)}{after}"
