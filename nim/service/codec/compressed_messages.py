"""Compressed gRPC messages: recognized by their first bytes, and decompressed within the service's memory budget.

gRPC's own decompression limits each message, but not all messages together: a few megabytes of network traffic could
fill the memory of the process. So it is disabled, and messages arrive as the client sent them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from .request import SMALL_BYTES

DECOMPRESSION_OPTION = "grpc.per_message_decompression"
"""The option of a server with which gRPC passes on compressed messages; 0 disables its own decompression."""
_GZIP = b"\x1f\x8b\x08"  # no protobuf message begins with it: its wire type does not exist
_ZLIB = b"\x78"  # the field 15, which no message of the inference protocol has
_ANY_FORMAT = 47  # window bits of zlib for both formats
_Reader = Callable[[bytes], Any]


class CompressedMessage:
    """A message that is large after its decompression: its compressed bytes, and the deserializer for the others."""

    __slots__ = ("data", "read")

    def __init__(self, data: bytes, read: _Reader) -> None:
        self.data, self.read = data, read


def decompressing_reader(read: _Reader) -> _Reader:
    """The deserializer `read` for messages that can be compressed. It returns a CompressedMessage for a message that is
    too large to be decompressed on the event loop."""

    def read_any(data: bytes) -> Any:
        if not is_compressed(data):
            return read(data)
        plain = _small_message(data)
        return CompressedMessage(data, read) if plain is None else read(plain)

    return read_any


def is_compressed(data: bytes) -> bool:
    """Whether `data` is a message in gzip or zlib's format, gRPC's ``gzip`` and ``deflate``."""
    return data[:3] == _GZIP or (data[:1] == _ZLIB and len(data) > 1 and int.from_bytes(data[:2], "big") % 31 == 0)


def _small_message(data: bytes) -> bytes | None:
    """The message, if it has at most `SMALL_BYTES` bytes and is complete."""
    reader = zlib.decompressobj(_ANY_FORMAT)
    try:
        plain = reader.decompress(data, SMALL_BYTES + 1)
    except zlib.error:
        return None  # its decompression reports the error
    return plain if reader.eof and not reader.unused_data and len(plain) <= SMALL_BYTES else None
