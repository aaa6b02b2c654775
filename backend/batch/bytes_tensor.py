"""BYTES tensors in Triton's serialization: for each element a u32 little-endian length, then the bytes, row-major."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

import numpy as np

from ..errors import InputError

_LENGTH = struct.Struct("<I")
_WINDOW = 64 << 10
_CHUNK = 4096  # elements between two calls of `check`, about a millisecond


def encode_element(element: object, where: str) -> bytes:
    """An element of a BYTES tensor as bytes; ``str()`` converts other types than ``bytes``, which are encoded in UTF-8.

    `where` names the tensor in errors. Raises InputError for lone surrogates, which UTF-8 cannot represent.
    """
    if isinstance(element, bytes):
        return element
    try:
        return str(element).encode()
    except UnicodeEncodeError as error:
        text = repr(error.object[error.start : error.end][:20])
        raise InputError(f"{where} has an element with {text}, which UTF-8 cannot represent: send bytes") from None


def serialize(elements: Iterable[object], where: str = "a BYTES tensor") -> bytes:
    """The serialized form of `elements`; `where` as in `encode_element`. Raises InputError."""
    pieces = []
    for element in elements:
        data = element if isinstance(element, bytes) else encode_element(element, where)
        pieces.append(_LENGTH.pack(len(data)))
        pieces.append(data)
    return b"".join(pieces)


def deserialize(data: bytes | memoryview, check: Callable[[], None] | None = None) -> list[bytes]:
    """The elements in `data`. `check` is called after every few thousand elements, and can raise.

    Raises ValueError if a length points outside `data`.
    """
    view, at, end = memoryview(data), 0, len(data)
    elements: list[bytes] = []
    while at < end:
        if elements and check is not None:
            check()
        at = _read_some(view, at, elements)
    return elements


def _read_some(view: memoryview, at: int, elements: list[bytes]) -> int:
    """Append the next elements from `at` on; returns their end.

    One copy of a large tensor would block other threads.
    """
    window = bytes(view[at : at + _WINDOW])
    position, size = 0, len(window)
    unpack, append = _LENGTH.unpack_from, elements.append
    for _ in range(_CHUNK):
        start = position + 4
        if start > size:
            break
        stop = start + unpack(window, position)[0]
        if stop > size:
            break
        append(window[start:stop])
        position = stop
    return at + position if position else _read_large(view, at, elements)


def _read_large(view: memoryview, at: int, elements: list[bytes]) -> int:
    """Append the element at `at`, which is larger than a window. Raises ValueError if it is malformed."""
    left = len(view) - at
    if left < 4:
        raise ValueError(f"{left} bytes are left at {at}, too few for a length")
    length: int = _LENGTH.unpack_from(view, at)[0]
    if 4 + length > left:
        raise ValueError(f"the element at {at} has {length} bytes, but only {left - 4} are left")
    elements.append(bytes(view[at + 4 : at + 4 + length]))
    return at + 4 + length


def object_array(elements: list[bytes], shape: tuple[int, ...]) -> np.ndarray:
    """`elements` as an object array of `shape`."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape)
