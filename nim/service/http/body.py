"""Reads the body of a request within its limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import Request
from starlette.types import Receive

from ..codec.binary_data import Body
from ..memory_budget import MemoryShare
from ..request_errors import RequestError, client_disconnected, memory_exhausted, request_too_large
from ..service import Service

Headers = Mapping[bytes, bytes]
MAX_OPTIONS_BYTES = 1 << 16
"""The maximum size of a body with options or settings."""


async def read_body(
    receive: Receive, headers: Headers, share: MemoryShare, *, max_bytes: int, timeout_s: float
) -> Body:
    """The body, whose bytes are reserved in `share`.

    Raises RequestError: 413 if it exceeds `max_bytes` bytes, 503 if all requests together take too much memory, 408 if
    it takes longer than `timeout_s`. A body that exceeds the size by less than a factor of two, or the memory, is
    received to its end and discarded: a client that gets a response while it is still sending reports a broken
    connection instead of the response.
    """
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared[:20]) > 2 * max_bytes:
        raise request_too_large(max_bytes)
    timeout = RequestError(408, "RequestTimeoutError", f"the request's body was not complete after {timeout_s:g} s")
    body = bytearray()
    try:
        return await with_timeout(timeout_s, timeout, _receive_body(receive, body, share, max_bytes))
    except BaseException:
        body.clear()  # the traceback of the error can reference it for a long time
        raise


async def read_small_body(service: Service, request: Request) -> Body:
    """The body of a request that has a few options only, of at most `MAX_OPTIONS_BYTES`. Raises RequestError as
    `read_body` does."""
    settings, headers = service.settings, dict(request.scope["headers"])
    max_bytes, timeout_s = min(settings.max_request_bytes, MAX_OPTIONS_BYTES), settings.body_timeout_s
    with service.budget.share() as share:
        return await read_body(request.receive, headers, share, max_bytes=max_bytes, timeout_s=timeout_s)


async def _receive_body(receive: Receive, body: bytearray, share: MemoryShare, max_bytes: int) -> Body:
    first_chunk = b""
    size, more, discarded = 0, True, False
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise client_disconnected()
        chunk = message.get("body", b"")
        size += len(chunk)
        more = message.get("more_body", False)
        if size > 2 * max_bytes:
            raise request_too_large(max_bytes)
        if size > max_bytes or discarded or not share.reserve(size):
            discarded = True
            body.clear()
            share.release()
        elif more or body:
            body += chunk  # one growing buffer: joining a list of chunks would need the memory twice
        else:
            first_chunk = chunk
    if size > max_bytes:
        raise request_too_large(max_bytes)
    if discarded:
        raise memory_exhausted()
    return first_chunk if len(first_chunk) == size else body


async def with_timeout(timeout_s: float, timeout: RequestError, work: Awaitable[Body]) -> Body:
    """The result of `work`; raises `timeout` after `timeout_s`.

    It takes a tenth of the time of `asyncio.wait_for`, which creates a task before Python 3.12.
    """
    async with Timer(timeout_s, lambda cancel: cancel()) as timer:
        try:
            return await work
        except asyncio.CancelledError:
            if not timer.cancelled:
                raise
            raise timeout from None


class Timer:
    """Calls `on_expiry` if an ``async with`` block lasts longer than `seconds`.

    The argument of `on_expiry` is a function that cancels the task of the block. `cancelled` is whether it was called:
    then the task's CancelledError comes from this timer.
    """

    def __init__(self, seconds: float, on_expiry: Callable[[Callable[[], None]], Any]) -> None:
        self._seconds, self._on_expiry = seconds, on_expiry
        self.cancelled = False

    async def __aenter__(self) -> Timer:
        task = asyncio.current_task()
        assert task is not None, "used in a coroutine"
        self._task = task
        self._handle = asyncio.get_running_loop().call_later(self._seconds, self._on_expiry, self._cancel)
        return self

    def _cancel(self) -> None:
        self.cancelled = True
        self._task.cancel()

    async def __aexit__(self, *_: object) -> None:
        self._handle.cancel()
        if self.cancelled and hasattr(self._task, "uncancel"):  # Python 3.11
            self._task.uncancel()
