"""Checks the tensors of a request against the interface, before anything reaches a guest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import InputError
from ..facts import MAX_RANK
from ..interface.dtypes import BF16, BYTES
from ..interface.interface import Interface, TensorSpec

Arrays = list["np.ndarray | None"]


class Checker:
    """The rules of one interface that need no guest: names and data types. Shapes are the adapter's matter."""

    def __init__(self, interface: Interface) -> None:
        self._specs = interface.inputs
        self._names = frozenset(spec.name for spec in interface.inputs)
        self._wanted = tuple(spec.dtype.numpy for spec in interface.inputs)

    def check(self, inputs: Mapping[str, object]) -> Arrays:
        """The arrays in interface order (None for an absent one). Raises InputError with every problem."""
        problems: list[str] = []
        arrays: Arrays = []
        taken = 0
        for spec, wanted in zip(self._specs, self._wanted):
            value = inputs.get(spec.name)
            if value is None:
                if not spec.optional:
                    problems.append(f"input '{spec.name}' is missing")
                arrays.append(None)
                continue
            taken += 1
            if type(value) is np.ndarray and value.dtype is wanted:
                arrays.append(value)
            else:
                arrays.append(self._array(spec, value, problems))
        if taken != len(inputs):
            unknown = sorted(set(inputs) - self._names)
            known = ", ".join(f"'{name}'" for name in sorted(self._names))
            problems += [f"there is no input '{name}' (the inputs are {known})" for name in unknown]
        if problems:
            raise InputError("; ".join(problems))
        return arrays

    @staticmethod
    def _array(spec: TensorSpec, value: object, problems: list[str]) -> np.ndarray | None:
        wanted = spec.dtype.numpy
        if not isinstance(value, np.ndarray):
            try:
                value = np.asarray(value, dtype=wanted)
            except (TypeError, ValueError, OverflowError) as error:
                problems.append(f"input '{spec.name}' cannot be read as {spec.dtype}: {error}")
                return None
        if value.dtype != wanted and value.dtype.newbyteorder("=") == wanted:
            value = value.astype(wanted)  # the other byte order
        if value.dtype != wanted and not (spec.dtype is BYTES and value.dtype.kind in "SU"):
            given = value.dtype.name
            hint = " (BF16 tensors are raw bits in a uint16 array)" if spec.dtype is BF16 else ""
            problems.append(f"input '{spec.name}' has dtype {given}, not {wanted.name} ({spec.dtype}){hint}")
            return None
        return value


def check_rows(interface: Interface, arrays: Arrays) -> None:
    """Check the shapes of a request to a command, which has no adapter. Raises InputError with every problem."""
    problems, given = [], []
    batch = bool(interface.max_batch_size)
    for spec, array in zip(interface.inputs, arrays):
        if array is None:
            continue
        if array.ndim > MAX_RANK:
            problems.append(f"input '{spec.name}' has rank {array.ndim}; at most {MAX_RANK} is allowed")
        elif array.ndim != len(spec.dims) + batch or any(
            d not in (-1, s) for d, s in zip(spec.dims, array.shape[batch:])
        ):
            after = " after the batch dimension" if batch else ""
            problems.append(f"input '{spec.name}' has shape {list(array.shape)}; it must be {list(spec.dims)}{after}")
        elif batch:
            given.append((spec.name, len(array)))
    if not problems and given:
        if len({rows for _, rows in given}) > 1:
            counts = ", ".join(f"'{name}' {rows}" for name, rows in given)
            problems.append(f"the inputs have different batch sizes: {counts}")
        if given[0][1] > interface.max_batch_size:
            problems.append(f"the batch of {given[0][1]} is larger than the maximum of {interface.max_batch_size}")
    if problems:
        raise InputError("; ".join(problems))
