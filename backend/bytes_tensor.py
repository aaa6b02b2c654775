"""BYTES tensors in Triton's serialisation: for each element a u32 little-endian length, then the bytes, row-major."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable

import numpy as np

from .errors import InputError

_LENGTH = struct.Struct("<I")
_CHUNK = 4096  # elements between two calls of `check`: about a millisecond


class TooManyElements(ValueError):
    """The data have more elements than the caller accepts."""


def encoded(element: object, where: str) -> bytes:
    """`element` of the BYTES tensor that `where` names: anything but ``bytes`` through ``str`` as UTF-8. Raises
    InputError where that has lone surrogates, which UTF-8 cannot represent."""
    if isinstance(element, bytes):
        return element
    try:
        return str(element).encode()
    except UnicodeEncodeError as problem:
        text = repr(problem.object[problem.start : problem.end][:20])
        raise InputError(f"{where} has an element with {text}, which UTF-8 cannot represent: send bytes") from None


def serialize(elements: Iterable[object], where: str = "a BYTES tensor") -> bytes:
    """The serialised form of `elements`, as `encoded`. Raises InputError."""
    pieces = []
    for element in elements:
        data = element if isinstance(element, bytes) else encoded(element, where)
        pieces.append(_LENGTH.pack(len(data)))
        pieces.append(data)
    return b"".join(pieces)


def deserialize(data: bytes, most: int = sys.maxsize, check: Callable[[], None] | None = None) -> list[bytes]:
    """The elements in `data`. `check` is called after every few thousand and may raise.

    Raises ValueError where a length points outside, TooManyElements for more than `most` elements.
    """
    elements: list[bytes] = []
    at, end = 0, len(data)
    unpack, append = _LENGTH.unpack_from, elements.append
    while at < end:
        if len(elements) == most:
            raise TooManyElements(f"more than {most} elements")
        if elements and check is not None:
            check()
        for _ in range(min(_CHUNK, most - len(elements))):
            if at + 4 > end:
                if at == end:
                    break
                raise ValueError(f"{end - at} bytes are left at {at}, too few for a length")
            (length,) = unpack(data, at)
            at += 4
            if at + length > end:
                raise ValueError(f"the element at {at - 4} has {length} bytes, but only {end - at} are left")
            append(data[at : at + length])
            at += length
    return elements


def object_array(elements: list[bytes], shape: tuple[int, ...]) -> np.ndarray:
    """`elements` as an object array of `shape`."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape)
