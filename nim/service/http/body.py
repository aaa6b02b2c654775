"""The body of a request, read within its limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.types import Receive

from ..codec.binary_data import Body
from ..memory_budget import MemoryShare
from ..request_errors import RequestError, client_disconnected, memory_exhausted, request_too_large

Headers = Mapping[bytes, bytes]


async def read_body(
    receive: Receive, headers: Headers, share: MemoryShare, *, max_bytes: int, timeout_s: float
) -> Body:
    """The body, whose bytes are reserved in `share`. Raises RequestError: 413 if it exceeds `max_bytes` bytes, 503 if
    all requests together take too much memory, 408 if it takes longer than `timeout_s`.

    What is a little too large, or comes at a bad time, is read to its end and dropped: a client that is answered while
    it still sends sees a broken connection instead of the answer.
    """
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared[:20]) > 2 * max_bytes:
        raise request_too_large(max_bytes)
    text = f"the request's body was not complete after {timeout_s:g} s"
    body = bytearray()
    try:
        return await within(
            timeout_s, RequestError(408, "RequestTimeoutError", text), _read(receive, body, share, max_bytes)
        )
    except BaseException:
        body.clear()  # the error's traceback may keep it for long
        raise


async def _read(receive: Receive, body: bytearray, share: MemoryShare, max_bytes: int) -> Body:
    first = b""
    size, more, refused = 0, True, False
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise client_disconnected()
        chunk = message.get("body", b"")
        size += len(chunk)
        more = message.get("more_body", False)
        if size > 2 * max_bytes:
            raise request_too_large(max_bytes)
        if size > max_bytes or refused or not share.take(size):
            refused = True
            body.clear()
            share.drop()
        elif more or body:
            body += chunk  # one growing block: pieces would be there twice when they are joined
        else:
            first = chunk
    if size > max_bytes:
        raise request_too_large(max_bytes)
    if refused:
        raise memory_exhausted()
    return first if len(first) == size else body


async def within(timeout_s: float, late: RequestError, work: Awaitable[Body]) -> Body:
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
