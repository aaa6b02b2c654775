"""Messages between a worker process and its supervisor: JSON documents over a pair of sockets."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from queue import Full, Queue
from typing import Any

MAX_MESSAGE_BYTES = 64 << 20
"""Maximum size of a message."""
_MAX_UNSENT = 4096  # messages that the other process has not read yet
_LENGTH = struct.Struct("<I")
_LOG = logging.getLogger(__name__)

Handler = Callable[[Any], Any]
"""Handles the body of a message. The result, or that of a returned Future, is the response to a request."""


class ChannelClosed(Exception):
    """The other process has ended, or does not read its messages."""


class Channel:
    """One end of the connection. Any thread can send; messages are received in a thread, in their order.

    `handlers` are called in that thread, by the kind of the message; they must not wait for responses. `on_end` is
    called there once, when the other process has closed its end.
    """

    def __init__(
        self, connection: socket.socket, handlers: Mapping[str, Handler], on_end: Callable[[], None], name: str
    ) -> None:
        self._connection, self._handlers, self._on_end, self._name = connection, handlers, on_end, name
        self._unsent: Queue[bytes | None] = Queue(_MAX_UNSENT)
        self._numbers = itertools.count()
        self._requests: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()  # of the requests
        self._closed = False

    def start(self) -> None:
        """Start to send and to receive."""
        for target, direction in ((self._receive_all, "receiver"), (self._send_all, "sender")):
            threading.Thread(target=target, name=f"{self._name} {direction}", daemon=True).start()

    def notify(self, kind: str, body: Any) -> None:
        """Send a message without a response. It is dropped if the channel is closed."""
        with contextlib.suppress(ChannelClosed):
            self._send({"kind": kind, "body": body})

    def request(self, kind: str, body: Any) -> Future[Any]:
        """The future response to a message. Its exception is ChannelClosed if the other process ends before; a caller
        that does not wait any longer cancels it."""
        future: Future[Any] = Future()
        number = next(self._numbers)
        with self._lock:
            if self._closed:
                future.set_exception(ChannelClosed())
                return future
            self._requests[number] = future
        future.add_done_callback(lambda _: self._requests.pop(number, None))
        try:
            self._send({"kind": kind, "number": number, "body": body})
        except ChannelClosed as error:
            _finish(future, error=error)
        return future

    def close(self) -> None:
        """Close this end: the other process is notified, and requests without a response fail."""
        with self._lock:
            closed, self._closed = self._closed, True
            requests = list(self._requests.values())
        if closed:
            return
        with contextlib.suppress(Full):
            self._unsent.put_nowait(None)
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        for future in requests:
            _finish(future, error=ChannelClosed())

    def _send(self, message: Mapping[str, Any]) -> None:
        content = json.dumps(message, separators=(",", ":")).encode()
        if len(content) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {len(content)} bytes exceeds the limit of {MAX_MESSAGE_BYTES}")
        if self._closed:
            raise ChannelClosed
        try:
            self._unsent.put_nowait(_LENGTH.pack(len(content)) + content)
        except Full:
            self.close()
            raise ChannelClosed from None

    def _send_all(self) -> None:
        with contextlib.suppress(OSError):
            while (content := self._unsent.get()) is not None:
                self._connection.sendall(content)

    def _receive_all(self) -> None:
        try:
            with self._connection.makefile("rb") as source:
                while header := source.read(_LENGTH.size):
                    (size,) = _LENGTH.unpack(header)
                    if size > MAX_MESSAGE_BYTES:
                        break
                    self._receive(json.loads(source.read(size)))
        except (OSError, ValueError, struct.error):  # the other process ended in the middle of a message
            pass
        finally:
            self.close()
            self._on_end()

    def _receive(self, message: Mapping[str, Any]) -> None:
        body = message["body"]
        if "kind" not in message:
            future = self._requests.get(message["number"])
            if future is not None:
                _finish(future, body)
            return
        try:
            result = self._handlers[message["kind"]](body)
        except Exception:  # noqa: BLE001
            # the other process waits in vain, and has a time limit
            _LOG.exception("message '%s': internal error", message["kind"])
            return
        if "number" not in message:
            return
        if isinstance(result, Future):
            result.add_done_callback(lambda done: self._respond(message, done))
        else:
            self._send({"number": message["number"], "body": result})

    def _respond(self, message: Mapping[str, Any], done: Future[Any]) -> None:
        if done.cancelled() or (error := done.exception()) is not None:
            if not done.cancelled():
                _LOG.error("message '%s': internal error", message["kind"], exc_info=error)
            return
        with contextlib.suppress(ChannelClosed):
            self._send({"number": message["number"], "body": done.result()})


def _finish(future: Future[Any], result: Any = None, error: Exception | None = None) -> None:
    """Complete a future, unless its caller has cancelled it."""
    with contextlib.suppress(InvalidStateError):
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
