"""Large responses as JSON, piece by piece: no piece holds the interpreter's lock for more than some milliseconds, and a
response that is sent as it is encoded takes no memory of its own."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..runtime_api import TensorSpec
from .json_codec import written
from .json_tensors import encode

ELEMENTS, OBJECTS = 1 << 15, 1 << 12
"""Of a piece: numbers, and elements of BYTES."""
_Outputs = list[tuple[dict[str, Any], TensorSpec, np.ndarray | None]]


def size_of(outputs: Iterable[np.ndarray]) -> int:
    """The bytes of `outputs` as raw tensors."""
    return sum(_size(array) for array in outputs)


def _size(array: np.ndarray) -> int:
    if array.dtype != object:
        return array.nbytes
    return 4 * array.size + sum(map(len, array.ravel().tolist()))


def document(head: Mapping[str, Any], outputs: _Outputs) -> Iterator[bytes]:
    """The JSON object `head` with `outputs`: each a description, and the array whose elements are its data (None for
    one that has none here)."""
    text = written(head)[:-1] + b',"outputs":['
    for index, (told, spec, array) in enumerate(outputs):
        text += b"," if index else b""
        if array is None:
            text += written(told)
            continue
        as_base64 = array.dtype == object and not all(map(_is_text, array.ravel()))
        how = {"parameters": {"content_encoding": "base64"}} if as_base64 else {}
        yield text + written({**told, **how})[:-1] + b',"data":['
        yield from _elements(spec, array, as_base64)
        text = b"]}"
    yield text + b"]}"


def _elements(spec: TensorSpec, array: np.ndarray, as_base64: bool) -> Iterator[bytes]:
    """The elements, without the brackets around them."""
    flat = array.reshape(-1)
    step = OBJECTS if array.dtype == object else ELEMENTS
    for start in range(0, flat.size, step):
        piece = flat[start : start + step]
        if as_base64:
            data: Any = [base64.b64encode(_octets(each)).decode() for each in piece]
        else:
            data = encode(spec, piece)["data"]
        yield (b"," if start else b"") + written(data)[1:-1]


def _is_text(element: object) -> bool:
    if not isinstance(element, bytes) or element.isascii():
        return True
    try:
        element.decode()
    except UnicodeDecodeError:
        return False
    return True


def _octets(element: object) -> bytes:
    return element if isinstance(element, bytes) else str(element).encode()
