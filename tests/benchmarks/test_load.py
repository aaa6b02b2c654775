"""Responses that the load generator reads: with a length, chunked, and unsuccessful ones."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.load import read_body  # noqa: TID251


def read(response: bytes) -> bytes:
    async def feed_and_read() -> bytes:
        reader = asyncio.StreamReader()
        reader.feed_data(response)
        reader.feed_eof()
        return await read_body(reader)

    return asyncio.run(feed_and_read())


def test_a_body_with_a_length_is_read() -> None:
    assert read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd") == b"abc"


def test_a_chunked_body_is_read() -> None:
    assert read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n") == (
        b"abc0123456789"
    )


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}", "responded b'http/1.1 500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na", "closed the connection"),
    ],
)
def test_an_error_or_a_closed_connection_fails(response: bytes, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        read(response)
