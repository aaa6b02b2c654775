"""Messages between a worker and its supervisor."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from portalis.nim.service.peers.channel import MAX_MESSAGE_BYTES, Channel, ChannelClosed, Handler
from tests.running.waiting import PATIENCE_S

ENDED = threading.Event


def _channel(connection: socket.socket, handlers: dict[str, Handler]) -> tuple[Channel, threading.Event]:
    ended = threading.Event()
    channel = Channel(connection, handlers, ended.set, "test")
    channel.start()
    return channel, ended


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def _sent(connection: socket.socket, content: bytes) -> None:
    connection.sendall(struct.pack("<I", len(content)) + content)


def test_requests_in_both_directions_have_their_own_responses(pair: tuple[socket.socket, socket.socket]) -> None:
    left, _ = _channel(pair[0], {"double": lambda body: body * 2})
    later: Future[str] = Future()
    right, _ = _channel(pair[1], {"upper": str.upper, "later": lambda _: later})
    slow = left.request("later", None)
    assert left.request("upper", "text").result(PATIENCE_S) == "TEXT"
    assert right.request("double", 21).result(PATIENCE_S) == 42
    assert not slow.done()
    later.set_result("now")
    assert slow.result(PATIENCE_S) == "now"


def test_the_end_of_the_other_process_fails_requests_and_is_reported(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    channel, ended = _channel(pair[0], {})
    waiting = channel.request("kind", None)
    pair[1].close()
    with pytest.raises(ChannelClosed):
        waiting.result(PATIENCE_S)
    assert ended.wait(PATIENCE_S)
    with pytest.raises(ChannelClosed):
        channel.request("kind", None).result(PATIENCE_S)
    channel.notify("kind", None)  # is dropped


def test_a_process_that_reads_nothing_is_disconnected_and_sending_never_blocks(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    channel, ended = _channel(pair[0], {})
    for _ in range(6000):
        channel.notify("kind", "x" * 1000)
    assert ended.wait(PATIENCE_S)


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<I", MAX_MESSAGE_BYTES + 1),
        struct.pack("<I", 100) + b"{",
        struct.pack("<I", 2) + b"\xff\xff",
        b"\x01",
    ],
    ids=["too large", "incomplete", "not JSON", "incomplete length"],
)
def test_an_invalid_message_ends_the_channel(pair: tuple[socket.socket, socket.socket], content: bytes) -> None:
    _, ended = _channel(pair[0], {})
    pair[1].sendall(content)
    pair[1].shutdown(socket.SHUT_WR)
    assert ended.wait(PATIENCE_S)


def test_a_handler_that_fails_does_not_end_the_channel(
    pair: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    left, _ = _channel(pair[0], {})
    _channel(pair[1], {"divide": lambda body: 1 / body})
    failed = left.request("divide", 0)
    assert left.request("divide", 4).result(PATIENCE_S) == 0.25
    assert not failed.done()
    assert "message 'divide': internal error" in caplog.text


def test_a_response_after_its_caller_gave_up_is_ignored(pair: tuple[socket.socket, socket.socket]) -> None:
    left, ended = _channel(pair[0], {})
    request = left.request("kind", None)
    assert request.cancel()
    _sent(pair[1], json.dumps({"number": 0, "body": "late"}).encode())
    _sent(pair[1], json.dumps({"number": 7, "body": "unknown"}).encode())
    next_request = left.request("kind", None)
    _sent(pair[1], json.dumps({"number": 1, "body": "in time"}).encode())
    assert next_request.result(PATIENCE_S) == "in time"
    assert not ended.is_set()
