"""The binary tensor data extension of the Open Inference Protocol: tensors as raw bytes that follow the JSON.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import json
import re

from ..request_errors import RequestError, input_error

HEADER = "inference-header-content-length"
"""Name of the header with the length of the JSON, in lower case, as in ASGI."""
_NAME = "Inference-Header-Content-Length"
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}")
_MAX_SEARCHED = 1 << 16  # bytes of a body in which the end of the JSON is searched for an error message
Body = bytes | bytearray
Chunk = bytes | memoryview


def json_length(body: Body, header_length: str | None) -> int:
    """The number of bytes of `body` that are JSON according to the header; all of them if it is invalid."""
    text = (header_length or "").strip()
    length = int(text) if _NUMBER.fullmatch(text) else -1
    return length if 0 <= length <= len(body) else len(body)


def split_body(body: Body, header_length: str | None) -> tuple[memoryview, memoryview]:
    """The JSON of `body`, and the raw tensors that follow; `header_length` is the header of the request. Without JSON,
    the body is a raw binary request. Raises RequestError with status 400 for an invalid header."""
    view = memoryview(body)
    if header_length is None:
        return view, view[len(view) :]
    text = header_length.strip()
    if not _NUMBER.fullmatch(text):
        raise input_error(f"Unable to parse {_NAME}, got: {text[:40]!r}; expected a number of bytes")
    length = int(text)
    if not 0 <= length <= len(view):
        raise input_error(
            f"inference header size should be in range (0, {len(view)}), got: {text}; {_NAME} is the length of the"
            f" JSON, and the body has {len(view)} bytes"
        )
    return view[:length], view[length:]


def explain_json_error(error: RequestError, body: Body, header_length: str | None, *, v2: bool) -> RequestError:
    """`error`, raised for the JSON of `body`, with the correct value of the header if a wrong one is the cause."""
    end = _json_end(body)
    if header_length is None:
        needs = f"require {_NAME}" if v2 else "are accepted by /v2/models/{name}/infer only"
        if end is not None and end < len(body):
            exactly = f": {end}" if v2 else ""
            left = len(body) - end
            return input_error(
                f"the JSON ends after {end} bytes, and {left} follow: bytes after the JSON {needs}{exactly}"
            )
        if b'"binary_data_size"' in bytes(body[:_MAX_SEARCHED]):
            return input_error(f"{error.message} (bytes after the JSON {needs})")
        return error
    length = header_length.strip()
    if end is not None and int(length) != end:
        return input_error(f"{_NAME} is {length}, but the JSON ends after {end} bytes")
    return input_error(f"{error.message} ({_NAME} is {length})")


def _json_end(body: Body) -> int | None:
    """The offset of the end of the JSON object at the start of `body`; None for other bodies and very long objects."""
    text = bytes(body[:_MAX_SEARCHED]).decode("latin-1")  # a character for each byte
    start = len(text) - len(text.lstrip(" \t\r\n"))
    if text[start : start + 1] != "{":
        return None
    try:
        return json.JSONDecoder().raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


class RawTail:
    """The raw tensors that follow the JSON, read in the order of the inputs."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._offset = data, 0

    def take(self, size: int, label: str) -> memoryview:
        """The next `size` bytes. Raises RequestError, which begins with `label`, if fewer are left."""
        left = len(self._data) - self._offset
        if size > left:
            raise input_error(f"{label}: binary_data_size is {size}, but only {left} bytes are left in the body")
        self._offset += size
        return self._data[self._offset - size : self._offset]

    def check_end(self) -> None:
        """Raise RequestError with status 400 if bytes are left."""
        left = len(self._data) - self._offset
        if left:
            raise input_error(f"the body has {left} bytes more than its JSON and the binary_data_size of its inputs")
