"""Checks the tensors of a request against the interface, before anything reaches a guest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import InputError
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
