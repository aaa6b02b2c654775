"""Reads and writes USD attributes as NumPy arrays.

A path is that of a property, for example ``/World/Points.points``. A USD array has one axis, and its element type adds
further axes: ``point3f[]`` is float32 of shape (n, 3), ``matrix4d[]`` is float64 of shape (n, 4, 4), and ``float`` is
float32 of shape (). Strings (``string``, ``token``, ``asset``) are object arrays of ``bytes``.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Protocol

import numpy as np


class Arrays(Protocol):
    """Storage of the arrays that modules read and write, by path."""

    def read(self, path: str) -> np.ndarray:
        """The array at `path`. Raises LookupError if it is missing, ValueError if it is not an array."""

    def write(self, path: str, array: np.ndarray) -> None:
        """Write an array. Raises LookupError if `path` does not exist, ValueError if the array does not match it."""


class DictArrays:
    """Arrays in a dict, by name: for a Kit without USD, and for tests."""

    def __init__(self, arrays: MutableMapping[str, np.ndarray]) -> None:
        self.arrays = arrays

    def read(self, path: str) -> np.ndarray:
        """The array named `path`."""
        if path not in self.arrays:
            raise LookupError(f"unknown array {path!r}")
        return self.arrays[path]

    def write(self, path: str, array: np.ndarray) -> None:
        """Set the array named `path`."""
        self.arrays[path] = array


class StageAttributes:
    """Attributes of a `Usd.Stage` at `time`: a `Usd.TimeCode`, a frame number, or None for the default value."""

    def __init__(self, stage: Any, time: Any = None) -> None:
        self._stage = stage
        self._time = time

    def read(self, path: str) -> np.ndarray:
        """The attribute's value as an array."""
        attribute = self._attribute(path)
        value = attribute.Get() if self._time is None else attribute.Get(self._time)
        if value is None:
            when = "" if self._time is None else f" at {self._time}"
            raise ValueError(f"{path} has no value{when}")
        return _array(value, attribute, path)

    def write(self, path: str, array: np.ndarray) -> None:
        """Set the attribute's value, in the layer that is edited."""
        attribute = self._attribute(path)
        value = _value(array, attribute, path)
        from pxr import Tf

        try:
            done = attribute.Set(value) if self._time is None else attribute.Set(value, self._time)
        except Tf.ErrorException:  # its message only names USD's source lines
            done = False
        if not done:
            raise ValueError(f"cannot write {path}: the edited layer rejects it")

    def _attribute(self, path: str) -> Any:
        from pxr import Sdf

        if not Sdf.Path.IsValidPathString(path) or not Sdf.Path(path).IsPropertyPath():
            raise LookupError(f"expected the path of an attribute such as /World/Points.points, got {path!r}")
        attribute = self._stage.GetAttributeAtPath(path)
        if not attribute:
            raise LookupError(f"the stage has no attribute {path}")
        return attribute


def _array(value: Any, attribute: Any, path: str) -> np.ndarray:
    name = attribute.GetTypeName()
    if name.scalarType in _string_types():
        strings = list(value) if name.isArray else [value]
        array = np.empty(len(strings), dtype=object)
        array[:] = [str(getattr(each, "path", each)).encode() for each in strings]
        return array if name.isArray else array.reshape(())
    array_class = name.arrayType.type.pythonClass
    # a copy, because USD shares its arrays; a single value is converted through an array, which determines the dtype
    array = np.array(value if name.isArray or array_class is None else array_class([value]))
    if array.dtype == object:
        raise ValueError(f"{path} is of type {name}, which is neither numeric nor a string")
    return array if name.isArray else array[0]


def _value(array: np.ndarray, attribute: Any, path: str) -> Any:
    name = attribute.GetTypeName()
    if name.scalarType in _string_types():
        strings = texts_of(array, path)
        if not name.isArray and len(strings) != 1:
            raise ValueError(f"expected one element for {path} (type {name}), got {len(strings)}")
        return strings if name.isArray else strings[0]
    element = np.array(name.arrayType.type.pythonClass(1))  # one element: its dtype and shape
    if element.dtype == object:
        raise ValueError(f"{path} is of type {name}, which is neither numeric nor a string")
    shape = element.shape[1:]
    if not np.can_cast(array.dtype, element.dtype, "same_kind"):
        raise ValueError(f"cannot convert {array.dtype} to {name} for {path}: convert it in the module")
    rank = array.ndim - len(shape)
    if array.shape[max(rank, 0) :] != shape or rank != int(name.isArray):
        expected = (*(("n",) if name.isArray else ()), *map(str, shape))
        raise ValueError(f"expected shape ({', '.join(expected)}) for {path} (type {name}), got {array.shape}")
    rows = np.ascontiguousarray(array.reshape((-1, *shape)), dtype=element.dtype)
    value = name.arrayType.type.pythonClass.FromNumpy(rows)
    return value if name.isArray else value[0]


def texts_of(array: np.ndarray, path: str) -> list[str]:
    """The elements of a BYTES tensor as strings for `path`.

    Raises ValueError for an element that is not UTF-8, which USD and OmniGraph cannot store: they would repath bytes.
    """
    strings = []
    for index, each in enumerate(array.ravel()):
        try:
            strings.append(each.decode() if isinstance(each, bytes) else str(each))
        except UnicodeDecodeError:
            message = f"{path} stores strings, but element {index} is not UTF-8: write UTF-8 in the module"
            raise ValueError(message) from None
    return strings


def _string_types() -> tuple[Any, ...]:
    from pxr import Sdf

    return Sdf.ValueTypeNames.String, Sdf.ValueTypeNames.Token, Sdf.ValueTypeNames.Asset
