"""Reading of gRPC messages: requests that are not valid messages, and large inference requests.

A deserializer that raised would make gRPC log a traceback and answer UNKNOWN, so an unreadable message becomes a value.
A large inference request is cheap to read only if its bytes are in raw tensors: every other field becomes an object
while the event loop waits. So its fields are counted first, without reading them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

# gRPC's core writes lines of its own format to standard error, which a reader of JSON lines cannot parse. The variable
# is read when `grpc` is imported, which `tritonclient.grpc` does
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from ..request_errors import input_error
from .request import LARGE_BYTES, SMALL_BYTES

__all__ = ["LargeRequest", "UnreadableMessage", "checked_message", "infer_reader", "message_reader", "pb"]

MAX_FIELDS = 1000
"""Maximum number of fields of a large request that is read on the event loop."""
_MAX_NAME_BYTES = 4096
_NAME, _VERSION, _ID, _RAW = (
    pb.ModelInferRequest.DESCRIPTOR.fields_by_name[name].number
    for name in ("model_name", "model_version", "id", "raw_input_contents")
)
_DELIMITED = 2  # the wire type of all fields of this message


class UnreadableMessage:
    """Bytes that are not a message of the type `kind`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class LargeRequest:
    """A large ModelInferRequest: as `message` if reading it is cheap, else as bytes in `data`."""

    __slots__ = ("data", "id", "message", "model_name", "model_version", "size")

    def __init__(self, size: int, names: dict[int, str], message: Any, data: bytes) -> None:
        self.size, self.message, self.data = size, message, data
        self.model_name, self.model_version = names.get(_NAME, ""), names.get(_VERSION, "")
        self.id = names.get(_ID, "")


def message_reader(message: Any) -> Callable[[bytes], Any]:
    """The deserializer of the class `message`; it returns an UnreadableMessage instead of raising."""
    parse, unreadable = message.FromString, UnreadableMessage(message.DESCRIPTOR.full_name)

    def read(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return unreadable

    return read


def checked_message(message: Any) -> Any:
    """`message` itself. Raises RequestError with status 400 for an UnreadableMessage."""
    if type(message) is UnreadableMessage:
        raise input_error(f"Unable to parse request; it is not a valid message of type {message.kind}")
    return message


def infer_reader() -> Callable[[bytes], Any]:
    """The deserializer of inference requests: it returns a ModelInferRequest, LargeRequest or UnreadableMessage."""
    read = message_reader(pb.ModelInferRequest)

    def read_any(data: bytes) -> Any:
        if len(data) <= SMALL_BYTES:
            return read(data)
        return _large(data, read)

    return read_any


def _large(data: bytes, read: Callable[[bytes], Any]) -> Any:
    names: dict[int, str] = {}
    other_bytes, count = 0, 0  # bytes that are not in raw tensors
    try:
        for number, start, size in _fields(data):
            count += 1
            if number != _RAW:
                other_bytes += size
            if number in (_NAME, _VERSION, _ID) and size <= _MAX_NAME_BYTES:
                names[number] = data[start : start + size].decode()
            if count > MAX_FIELDS:
                break
    except (ValueError, IndexError):
        return UnreadableMessage(pb.ModelInferRequest.DESCRIPTOR.full_name)
    if count > MAX_FIELDS or other_bytes > LARGE_BYTES:
        return LargeRequest(len(data), names, None, data)
    message = read(data)
    return message if type(message) is UnreadableMessage else LargeRequest(len(data), names, message, b"")


def _fields(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The number, start and size of each field. Raises ValueError for bytes that are not this message, IndexError for a
    truncated message."""
    offset, end = 0, len(data)
    while offset < end:
        key, offset = _varint(data, offset)
        if key & 7 != _DELIMITED:
            raise ValueError("a field has an unexpected wire type")
        size, offset = _varint(data, offset)
        if size > end - offset:
            raise ValueError("a field is truncated")
        yield key >> 3, offset, size
        offset += size


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    """The number at `offset`, and the offset after it."""
    value = shift = 0
    while True:
        octet = data[offset]
        offset += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, offset
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
