"""BYTES tensors in Triton's serialisation: for each element a u32 little-endian length, then the bytes, row-major."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np

_LENGTH = struct.Struct("<I")


def serialize(elements: Iterable[object]) -> bytes:
    """The serialised form of `elements` (bytes, or anything else through ``str`` as UTF-8)."""
    pieces = []
    for element in elements:
        data = element if isinstance(element, bytes) else str(element).encode()
        pieces.append(_LENGTH.pack(len(data)))
        pieces.append(data)
    return b"".join(pieces)


def deserialize(data: bytes) -> list[bytes]:
    """The elements in `data`. Raises ValueError where a length points outside."""
    elements = []
    at, end = 0, len(data)
    unpack = _LENGTH.unpack_from
    while at < end:
        if at + 4 > end:
            raise ValueError(f"{end - at} bytes are left at {at}, too few for a length")
        (length,) = unpack(data, at)
        at += 4
        if at + length > end:
            raise ValueError(f"the element at {at - 4} has {length} bytes, but only {end - at} are left")
        elements.append(data[at : at + length])
        at += length
    return elements


def object_array(elements: list[bytes], shape: tuple[int, ...]) -> np.ndarray:
    """`elements` as an object array of `shape`."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape)
