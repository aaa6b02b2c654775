"""Content-Encoding of HTTP bodies: gzip and deflate, for requests and responses."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator

from ..request_errors import RequestError, input_error, memory_exhausted, request_too_large
from .binary_data import Body, Chunk

UNKNOWN_ENCODING = "UnsupportedMediaTypeError"
"""The kind of the error for an unknown Content-Encoding."""
_CHUNK = 1 << 20  # bytes that are compressed or decompressed at a time
_GZIP_OR_ZLIB = 47  # zlib's window bits that accept both formats
_WEIGHT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)", re.ASCII)


def response_encoding(accepted: str) -> str:
    """The Content-Encoding that Triton chooses for a client that sends `accepted` as Accept-Encoding: the encoding with
    the highest weight, the first of several, or ``identity``.

    Triton knows neither ``*`` nor upper case, and `accepted` need not be valid: other parts of it are ignored.
    """
    chosen, highest = "identity", 0.0
    for part in accepted.split(","):
        name, separator, parameter = part.lstrip(" ").partition(";q=")
        weight = _WEIGHT.match(parameter) if separator else None
        if name not in ("identity", "deflate", "gzip") or (separator and weight is None):
            continue
        value = float(weight[1]) if weight else 1.0
        if value > highest:
            chosen, highest = name, value
    return chosen


def decompress(
    body: Body, encoding: str, max_bytes: int, reserve: Callable[[int], bool], unknown_status: int = 415
) -> Body:
    """`body` without its Content-Encoding.

    Raises RequestError: `unknown_status` for an unknown encoding, 400 for a body that is not encoded in it, 413 for a
    result of more than `max_bytes`, and 503 if `reserve` refuses the total size of `body` and result.
    """
    encoding = encoding.strip().lower().replace("x-gzip", "gzip")  # the same encoding: RFC 9110, 8.4.1.3
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        text = f"Unsupported compression type; Content-Encoding is {encoding[:40]!r}; use gzip, deflate or none"
        raise RequestError(unknown_status, UNKNOWN_ENCODING, text)
    if not body:
        text = f"nothing to be decompressed; the body does not match its Content-Encoding {encoding}: it is empty"
        raise input_error(text)
    try:
        return inflate(body, max_bytes, reserve)
    except zlib.error as error:
        raise input_error(f"the body does not match its Content-Encoding {encoding}: {error}") from None


def inflate(data: Body, max_bytes: int, reserve: Callable[[int], bool]) -> bytearray:
    """The content of `data`, in gzip or zlib's format.

    Raises zlib.error for other data, and RequestError: 413 for a content of more than `max_bytes`, 503 if `reserve`
    refuses the total size of `data` and content.
    """
    reader = zlib.decompressobj(_GZIP_OR_ZLIB)
    content, rest = bytearray(), data
    while not reader.eof:
        chunk = reader.decompress(rest, _CHUNK)
        rest = reader.unconsumed_tail
        if not chunk and not rest:
            break
        content += chunk
        if len(content) > max_bytes:
            raise request_too_large(max_bytes)
        if not reserve(len(data) + len(content)):
            raise memory_exhausted()
    if not reader.eof or reader.unused_data:
        raise zlib.error("it is cut off, or data follows its end")
    return content


def compress(chunks: Iterable[Chunk], encoding: bytes) -> Iterator[bytes]:
    """`chunks` in the Content-Encoding `encoding`, gzip or deflate, at the lowest level of compression."""
    writer = zlib.compressobj(1, zlib.DEFLATED, 31 if encoding == b"gzip" else 15)
    for chunk in chunks:
        for start in range(0, len(chunk), _CHUNK):
            if compressed := writer.compress(memoryview(chunk)[start : start + _CHUNK]):
                yield compressed
    yield writer.flush()
