"""Large inference requests over gRPC. Their raw tensors are cheap to read, everything else is not: each small field
becomes an object, while the event loop waits. So the fields are counted first, without reading them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from .decoder_pool import LARGE_BYTES
from .protobuf_messages import Unreadable, reader
from .request import SMALL_BYTES

MAX_FIELDS = 1000
_NAME, _VERSION, _ID, _RAW = (
    pb.ModelInferRequest.DESCRIPTOR.fields_by_name[name].number
    for name in ("model_name", "model_version", "id", "raw_input_contents")
)
_DELIMITED = 2  # the wire type of everything in this message


class Large:
    """A large ModelInferRequest: `message` where it was cheap to read, else None and its bytes are `data`."""

    __slots__ = ("data", "id", "message", "model_name", "model_version", "size")

    def __init__(self, size: int, names: dict[int, str], message: Any, data: bytes) -> None:
        self.size, self.message, self.data = size, message, data
        self.model_name, self.model_version = names.get(_NAME, ""), names.get(_VERSION, "")
        self.id = names.get(_ID, "")


def infer_reader() -> Callable[[bytes], Any]:
    """The deserialiser of inference requests: a message, Large, or Unreadable."""
    read = reader(pb.ModelInferRequest)

    def read_any(data: bytes) -> Any:
        if len(data) <= SMALL_BYTES:
            return read(data)
        return _large(data, read)

    return read_any


def _large(data: bytes, read: Callable[[bytes], Any]) -> Any:
    names: dict[int, str] = {}
    dear, count = 0, 0
    try:
        for number, start, size in _fields(data):
            count += 1
            if number != _RAW:
                dear += size
            if number in (_NAME, _VERSION, _ID) and size <= 4096:
                names[number] = data[start : start + size].decode()
            if count > MAX_FIELDS:
                break
    except (ValueError, IndexError):
        return Unreadable(pb.ModelInferRequest.DESCRIPTOR.full_name)
    if count > MAX_FIELDS or dear > LARGE_BYTES:
        return Large(len(data), names, None, data)
    message = read(data)
    return message if type(message) is Unreadable else Large(len(data), names, message, b"")


def _fields(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The number, start and size of each field. Raises ValueError for what is no message, IndexError where it ends."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        if key & 7 != _DELIMITED:
            raise ValueError("a field of another type")
        size, at = _varint(data, at)
        if size > end - at:
            raise ValueError("a field is cut")
        yield key >> 3, at, size
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        octet = data[at]
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
