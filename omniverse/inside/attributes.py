"""USD attributes as NumPy arrays.

A place is a property's path, such as ``/World/Points.points``. An array of USD is one axis, and what it is an array of
gives the others: ``point3f[]`` is float32 of shape (n, 3), ``matrix4d[]`` float64 of (n, 4, 4), ``float`` float32 of
(). Texts (``string``, ``token``, ``asset``) are object arrays of ``bytes``.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Protocol

import numpy as np


class Arrays(Protocol):
    """Where a module's arrays come from and go to."""

    def read(self, place: str) -> np.ndarray:
        """The array at `place`. Raises LookupError, or ValueError where there is none that can be one."""

    def write(self, place: str, array: np.ndarray) -> None:
        """Put an array there. Raises LookupError, or ValueError where it does not fit."""


class DictArrays:
    """Arrays by name, in a dict: for a Kit without USD, and for tests."""

    def __init__(self, arrays: MutableMapping[str, np.ndarray]) -> None:
        self.arrays = arrays

    def read(self, place: str) -> np.ndarray:
        if place not in self.arrays:
            raise LookupError(f"there is no array {place!r}")
        return self.arrays[place]

    def write(self, place: str, array: np.ndarray) -> None:
        self.arrays[place] = array


class StageAttributes:
    """Attributes of a `Usd.Stage`, at `time` (a `Usd.TimeCode`, or a number of frames; its default value when None)."""

    def __init__(self, stage: Any, time: Any = None) -> None:
        self._stage = stage
        self._time = time

    def read(self, place: str) -> np.ndarray:
        attribute = self._attribute(place)
        value = attribute.Get() if self._time is None else attribute.Get(self._time)
        if value is None:
            at = "no value" if self._time is None else f"no value at {self._time}"
            raise ValueError(f"{place} has {at}")
        return _array(value, attribute, place)

    def write(self, place: str, array: np.ndarray) -> None:
        attribute = self._attribute(place)
        value = _value(array, attribute, place)
        from pxr import Tf

        try:
            done = attribute.Set(value) if self._time is None else attribute.Set(value, self._time)
        except Tf.ErrorException:  # which tells of USD's own source lines
            done = False
        if not done:
            raise ValueError(f"{place} cannot be written: the layer that is edited does not take it")

    def _attribute(self, place: str) -> Any:
        from pxr import Sdf

        if not Sdf.Path.IsValidPathString(place) or not Sdf.Path(place).IsPropertyPath():
            raise LookupError(f"{place!r} is no path of an attribute, such as /World/Points.points")
        attribute = self._stage.GetAttributeAtPath(place)
        if not attribute:
            raise LookupError(f"the stage has no attribute {place}")
        return attribute


def _array(value: Any, attribute: Any, place: str) -> np.ndarray:
    name = attribute.GetTypeName()
    if name.scalarType in _texts():
        texts = list(value) if name.isArray else [value]
        found = np.empty(len(texts), dtype=object)
        found[:] = [str(getattr(text, "path", text)).encode() for text in texts]
        return found if name.isArray else found.reshape(())
    kind = name.arrayType.type.pythonClass
    # a copy: USD's own arrays are shared. One value goes through an array of it, which knows its dtype
    made = np.array(value if name.isArray or kind is None else kind([value]))
    if made.dtype == object:
        raise ValueError(f"{place} is of type {name}, which is no array of numbers or texts")
    return made if name.isArray else made[0]


def _value(array: np.ndarray, attribute: Any, place: str) -> Any:
    name = attribute.GetTypeName()
    if name.scalarType in _texts():
        texts = texts_of(array, place)
        if not name.isArray and len(texts) != 1:
            raise ValueError(f"{place} is one {name}, and the array has {len(texts)}")
        return texts if name.isArray else texts[0]
    element = np.array(name.arrayType.type.pythonClass(1))  # one element: its dtype and shape
    if element.dtype == object:
        raise ValueError(f"{place} is of type {name}, which is no array of numbers or texts")
    shape = element.shape[1:]
    if not np.can_cast(array.dtype, element.dtype, "same_kind"):
        raise ValueError(f"{place} is of type {name}, and the array of {array.dtype}: convert it in the module")
    rank = array.ndim - len(shape)
    if array.shape[max(rank, 0) :] != shape or rank != int(name.isArray):
        wanted = (*(("n",) if name.isArray else ()), *map(str, shape))
        raise ValueError(f"{place} is of type {name}: ({', '.join(wanted)}), and the array has the shape {array.shape}")
    rows = np.ascontiguousarray(array.reshape((-1, *shape)), dtype=element.dtype)
    made = name.arrayType.type.pythonClass.FromNumpy(rows)
    return made if name.isArray else made[0]


def texts_of(array: np.ndarray, place: str) -> list[str]:
    """The elements of a BYTES tensor as texts for `place`. Raises ValueError for one that is not UTF-8: USD and
    OmniGraph hold nothing else, and other bytes would be replaced."""
    found = []
    for index, each in enumerate(array.ravel()):
        try:
            found.append(each.decode() if isinstance(each, bytes) else str(each))
        except UnicodeDecodeError:
            text = f"{place} holds texts, and element {index} is not UTF-8: write it as text in the module"
            raise ValueError(text) from None
    return found


def _texts() -> tuple[Any, ...]:
    from pxr import Sdf

    return Sdf.ValueTypeNames.String, Sdf.ValueTypeNames.Token, Sdf.ValueTypeNames.Asset
