"""The body of a request: read within its limits of size and time, and decompressed within the same size."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.types import Receive

from ..memory_budget import Share, exhausted
from ..request_errors import Problem, bad_input

Headers = Mapping[bytes, bytes]
Body = bytes | bytearray
_PIECE = 1 << 20  # what is decompressed at a time
_GZIP_OR_ZLIB = 47  # zlib's window bits that take both


def gone() -> Problem:
    """The client has closed the connection; this is for the metrics, nobody gets it."""
    return Problem(499, "ClientDisconnected", "the client left before its request was answered")


def too_large(most: int) -> Problem:
    """The body is larger than `most` bytes."""
    return Problem(413, "RequestTooLargeError", f"the request is larger than {most} bytes, the limit")


async def read(receive: Receive, headers: Headers, share: Share, *, most: int, timeout_s: float) -> Body:
    """The body, whose bytes it takes from `share`. Raises Problem: 413 for one larger than `most` bytes, 503 where all
    requests together take too much, 408 where it takes longer than `timeout_s`.

    What is a little too large, or comes at a bad time, is read to its end and dropped: a client that is answered while
    it still sends sees a broken connection instead of the answer.
    """
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared[:20]) > 2 * most:
        raise too_large(most)
    text = f"the request's body was not complete after {timeout_s:g} s"
    body = bytearray()
    try:
        return await within(timeout_s, Problem(408, "RequestTimeoutError", text), _read(receive, body, share, most))
    except BaseException:
        body.clear()  # the error's traceback may keep it for long
        raise


async def _read(receive: Receive, body: bytearray, share: Share, most: int) -> Body:
    first = b""
    size, more, refused = 0, True, False
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise gone()
        chunk = message.get("body", b"")
        size += len(chunk)
        more = message.get("more_body", False)
        if size > 2 * most:
            raise too_large(most)
        if size > most or refused or not share.take(size):
            refused = True
            body.clear()
            share.drop()
        elif more or body:
            body += chunk  # one growing block: pieces would be there twice when they are joined
        else:
            first = chunk
    if size > most:
        raise too_large(most)
    if refused:
        raise exhausted()
    return first if len(first) == size else body


async def within(timeout_s: float, late: Problem, work: Awaitable[Body]) -> Body:
    """The result of `work`, or `late` raised after `timeout_s`.

    A timer costs a tenth of what `asyncio.wait_for` does, which makes a task before Python 3.12.
    """
    async with Timer(timeout_s, lambda cancel: cancel()) as timer:
        try:
            return await work
        except asyncio.CancelledError:
            if not timer.cancelled:
                raise
            raise late from None


class Timer:
    """Calls `act` after some seconds inside of ``async with``, giving it a function that cancels the task around it.

    `cancelled` says whether that was called: then the task's CancelledError is this timer's.
    """

    def __init__(self, seconds: float, act: Callable[[Callable[[], None]], Any]) -> None:
        self._seconds, self._act = seconds, act
        self.cancelled = False

    async def __aenter__(self) -> Timer:
        task = asyncio.current_task()
        assert task is not None, "it is used in a coroutine"
        self._task = task
        self._handle = asyncio.get_running_loop().call_later(self._seconds, self._act, self._cancel)
        return self

    def _cancel(self) -> None:
        self.cancelled = True
        self._task.cancel()

    async def __aexit__(self, *_: object) -> None:
        self._handle.cancel()
        if self.cancelled and hasattr(self._task, "uncancel"):  # Python 3.11
            self._task.uncancel()


def decompressed(body: Body, encoding: str, most: int, allowed: Callable[[int], bool]) -> Body:
    """`body` without its Content-Encoding. Raises Problem: 415 for one that is not known, 400 for a body that is not so
    encoded, 413 for one that becomes larger than `most` bytes, 503 where `allowed` refuses so many bytes."""
    encoding = encoding.strip().lower().replace("x-gzip", "gzip")  # the same: RFC 9110, 8.4.1.3
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        text = f"Content-Encoding {encoding[:40]!r} is not known; use gzip, deflate or none"
        raise Problem(415, "UnsupportedMediaTypeError", text)
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
                raise too_large(most)
            if not allowed(len(body) + len(found)):
                raise exhausted()
    except zlib.error as problem:
        raise bad_input(f"the body is not what its Content-Encoding {encoding} says: {problem}") from None
    if not reader.eof or reader.unused_data:
        raise bad_input(f"the body is not what its Content-Encoding {encoding} says: it has another end")
    return found
