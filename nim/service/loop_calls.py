"""Coroutines of the event loop, for which other threads wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from .request_errors import request_cancelled

Result = TypeVar("Result")
OnWait = Callable[[Callable[[], Any]], bool]
"""Registers a function that cancels a call, which can be called at any time and in any thread; False if the call is to
be cancelled at once."""


def wait_for(coroutine: Coroutine[Any, Any, Result], loop: asyncio.AbstractEventLoop, on_wait: OnWait) -> Result:
    """The result of `coroutine`, which runs in `loop` while the calling thread waits. Raises RequestError with status
    499 if it is cancelled."""
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    if not on_wait(future.cancel):
        future.cancel()
    try:
        return future.result()
    except CancelledError:
        raise request_cancelled() from None
