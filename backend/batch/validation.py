"""Checks the tensors of a request against the interface, before anything reaches a guest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import InputError
from ..interface.dtypes import BF16, BYTES
from ..interface.interface import Convention, Interface, TensorSpec
from ..shapes import MAX_RANK

Arrays = list["np.ndarray | None"]


class Checker:
    """The rules of one interface, prepared once: `check` runs for every request."""

    def __init__(self, interface: Interface) -> None:
        self._specs = interface.inputs
        self._names = frozenset(spec.name for spec in interface.inputs)
        self._max_batch = interface.max_batch_size
        # Elementwise and gufunc broadcast over any leading dimensions; the others have exactly the declared ones.
        self._exact = interface.convention in (Convention.DLPACK, Convention.COMMAND)
        self._core_known_to_signature = interface.convention is Convention.GUFUNC
        unbound = all(d == -1 for spec in interface.inputs for d in spec.dims)
        self._any_shape = not self._exact and (unbound or self._core_known_to_signature)

    def check(self, inputs: Mapping[str, object]) -> tuple[Arrays, int | None]:
        """The arrays in interface order (None for an absent optional one), and the number of rows (None where the
        interface has no batch dimension). Raises InputError with every problem."""
        problems: list[str] = []
        arrays: Arrays = []
        taken = 0
        for spec in self._specs:
            value = inputs.get(spec.name)
            if value is None:
                if not spec.optional:
                    problems.append(f"input '{spec.name}' is missing")
                arrays.append(None)
                continue
            taken += 1
            arrays.append(self._array(spec, value, problems))
        if taken != len(inputs):
            unknown = sorted(set(inputs) - self._names)
            known = ", ".join(f"'{name}'" for name in sorted(self._names))
            problems += [f"there is no input '{name}' (the inputs are {known})" for name in unknown]
        rows = self._rows(arrays, problems) if self._exact and self._max_batch and not problems else None
        if problems:
            raise InputError("; ".join(problems))
        return arrays, rows

    def _array(self, spec: TensorSpec, value: object, problems: list[str]) -> np.ndarray | None:
        wanted = spec.dtype.numpy
        if type(value) is np.ndarray and value.dtype is wanted and self._any_shape and value.ndim <= MAX_RANK:
            return value
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
        self._check_shape(spec, value.shape, problems)
        return value

    def _check_shape(self, spec: TensorSpec, shape: tuple[int, ...], problems: list[str]) -> None:
        if len(shape) > MAX_RANK:
            problems.append(f"input '{spec.name}' has rank {len(shape)}; at most {MAX_RANK} is allowed")
            return
        if self._core_known_to_signature:
            return  # the signature's own check names the dimensions
        dims = spec.dims
        if self._exact:
            core = shape[1:] if self._max_batch else shape
            fits = len(shape) == len(dims) + bool(self._max_batch)
        else:
            if all(d == -1 for d in dims):
                return
            core = shape[len(shape) - len(dims) :]
            fits = len(shape) >= len(dims) or shape == ()
            core = core if shape else ()
        if not fits or any(d not in (-1, s) for d, s in zip(dims, core)):
            batch = " after the batch dimension" if self._exact and self._max_batch else ""
            problems.append(f"input '{spec.name}' has shape {list(shape)}; it must be {list(dims)}{batch}")

    def _rows(self, arrays: Arrays, problems: list[str]) -> int | None:
        given = [(spec.name, a.shape[0]) for spec, a in zip(self._specs, arrays) if a is not None]
        if not given:
            return 1
        rows = given[0][1]
        if any(count != rows for _, count in given):
            told = ", ".join(f"'{name}' {count}" for name, count in given)
            problems.append(f"the inputs have different batch sizes: {told}")
        if rows > self._max_batch:
            problems.append(f"the batch of {rows} is larger than the maximum of {self._max_batch}")
        return rows
