"""Content-Encoding of HTTP bodies: gzip and deflate."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator

from ..request_errors import RequestError, input_error, memory_exhausted, request_too_large
from .binary_data import Body, Piece

_PIECE = 1 << 20  # bytes that are compressed or decompressed at a time
_GZIP_OR_ZLIB = 47  # zlib's window bits that accept both formats


def decompressed(body: Body, encoding: str, most: int, allowed: Callable[[int], bool]) -> Body:
    """`body` without its Content-Encoding.

    Raises RequestError: 415 for an unknown encoding, 400 for a body that is not encoded in it, 413 for a result of more
    than `most` bytes, and 503 if `allowed` refuses the total size of `body` and result.
    """
    encoding = encoding.strip().lower().replace("x-gzip", "gzip")  # the same: RFC 9110, 8.4.1.3
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        text = f"Content-Encoding {encoding[:40]!r} is not known; use gzip, deflate or none"
        raise RequestError(415, "UnsupportedMediaTypeError", text)
    reader = zlib.decompressobj(_GZIP_OR_ZLIB)
    found, rest = bytearray(), body
    try:
        while not reader.eof:
            piece = reader.decompress(rest, _PIECE)
            rest = reader.unconsumed_tail
            if not piece and not rest:
                break
            found += piece
            if len(found) > most:
                raise request_too_large(most)
            if not allowed(len(body) + len(found)):
                raise memory_exhausted()
    except zlib.error as problem:
        raise input_error(f"the body is not what its Content-Encoding {encoding} says: {problem}") from None
    if not reader.eof or reader.unused_data:
        raise input_error(f"the body is not what its Content-Encoding {encoding} says: it has another end")
    return found


def compressed(pieces: Iterable[Piece], encoding: bytes) -> Iterator[bytes]:
    """`pieces` in the Content-Encoding `encoding`, gzip or deflate, at the lowest level."""
    window = 31 if encoding == b"gzip" else 15
    writer = zlib.compressobj(1, zlib.DEFLATED, window)
    for piece in pieces:
        for start in range(0, len(piece), _PIECE):
            if found := writer.compress(memoryview(piece)[start : start + _PIECE]):
                yield found
    yield writer.flush()
