"""The binary tensor data extension of the Open Inference Protocol: tensors as raw bytes behind the JSON.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import json

import numpy as np

from ..request_errors import RequestError, input_error
from ..runtime_api import TensorSpec
from .raw_tensors import to_raw

HEADER = "inference-header-content-length"
_NAME = "Inference-Header-Content-Length"
_LOOKED_AT = 1 << 16  # bytes in which the end of the JSON is searched where it could not be read
Body = bytes | bytearray
Piece = bytes | memoryview


def json_size(body: bytes | bytearray, header_length: str | None) -> int:
    """How many bytes of `body` are JSON, as far as the header says."""
    text = (header_length or "").strip()
    return min(len(body), int(text[:20])) if text.isascii() and text.isdigit() else len(body)


def split(body: bytes | bytearray, header_length: str | None) -> tuple[memoryview, memoryview]:
    """The JSON and what lies behind it; `header_length` is the request's header, which says where the one ends."""
    view = memoryview(body)
    if header_length is None:
        return view, view[len(view) :]
    text = header_length.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 20:
        raise input_error(f"{_NAME} must be a number of bytes, not {text[:40]!r}")
    length = int(text)
    if length > len(view):
        raise input_error(f"{_NAME} is {length}, but the body has {len(view)} bytes")
    return view[:length], view[length:]


def explained(problem: RequestError, body: bytes | bytearray, header_length: str | None, *, v2: bool) -> RequestError:
    """`problem`, that the JSON of `body` could not be read, with what the header should be where that is the cause."""
    end = _json_end(body)
    if header_length is None:
        needs = f"need {_NAME}" if v2 else "are accepted by /v2/models/{name}/infer only"
        if end is not None and end < len(body):
            exactly = f": {end}" if v2 else ""
            left = len(body) - end
            return input_error(
                f"the JSON ends after {end} bytes, and {left} follow: bytes behind the JSON {needs}{exactly}"
            )
        if b'"binary_data_size"' in bytes(body[:_LOOKED_AT]):
            return input_error(f"{problem.message} (bytes behind the JSON {needs})")
        return problem
    length = header_length.strip()
    if end is not None and int(length) != end:
        return input_error(f"{_NAME} is {length}, but the JSON ends after {end} bytes")
    return input_error(f"{problem.message} ({_NAME} says that the JSON has {length} bytes)")


def _json_end(body: bytes | bytearray) -> int | None:
    """Where the JSON object ends with which `body` begins; None where it is none, or a very long one."""
    text = bytes(body[:_LOOKED_AT]).decode("latin-1")  # a character for each byte
    start = len(text) - len(text.lstrip(" \t\r\n"))
    if text[start : start + 1] != "{":
        return None
    try:
        return json.JSONDecoder().raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


class Tail:
    """What lies behind the JSON, taken piece by piece in the order of the inputs."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def take(self, size: int, where: str) -> memoryview:
        """The next `size` bytes, for the tensor that `where` names."""
        left = len(self._data) - self._at
        if size > left:
            raise input_error(f"{where}: binary_data_size is {size}, but only {left} bytes are left in the body")
        self._at += size
        return self._data[self._at - size : self._at]

    def finish(self) -> None:
        """Raises RequestError where something is left."""
        left = len(self._data) - self._at
        if left:
            raise input_error(f"the body has {left} bytes more than the JSON and the inputs' binary_data_size say")


def raw(spec: TensorSpec, array: np.ndarray) -> Piece:
    """`array`, an output, as raw bytes; numbers are not copied where they lie in one piece."""
    if spec.dtype.name == "BYTES" or not array.size:
        return to_raw(spec, array)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
