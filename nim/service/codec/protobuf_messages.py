"""Reading messages: bytes that are none are the client's error. gRPC would log a traceback and answer UNKNOWN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from ..request_errors import input_error


class Unreadable:
    """Stands for a message that could not be read."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


def reader(message: Any) -> Callable[[bytes], Any]:
    """The deserialiser for a class of messages; what it cannot read becomes Unreadable."""
    parse, unreadable = message.FromString, Unreadable(message.DESCRIPTOR.full_name)

    def read(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return unreadable

    return read


def understood(message: Any) -> Any:
    """`message` itself. Raises RequestError with status 400 for an Unreadable one."""
    if type(message) is Unreadable:
        raise input_error(f"the request is no message of type {message.kind}")
    return message
