"""A pool that receives the request of a unary call before a thread has to wait for it, and answers some calls at once.

gRPC's server hands a call to its pool before the request has arrived: the thread starts to receive, waits for the
server's own thread, and is woken. With this pool, the server's own thread receives; a request that `answer` can answer
needs no other thread at all. For that it uses internal parts of gRPC; with a version that lacks them, calls run in the
threads as usual.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc import _server
from grpc._cython import cygrpc

from .handler_threads import HandlerThreads

_LOG = logging.getLogger(__name__)
_NAMES = ("_RECEIVE_MESSAGE_TOKEN", "_CLOSED", "_abort", "_receive_message", "_status", "_unary_response_in_pool")

MAX_LEFT_S = 1e9
"""gRPC has a time for calls without a deadline too, which is later."""
Behavior = Callable[[bytes, Any], bytes]
"""The implementation of a unary call, which gets the request and the context."""
Answer = Callable[[bytes, Any, "float | None"], "bytes | Behavior | None"]
"""Gets the bytes of a request, the metadata of the call, and the seconds until its deadline. Returns the bytes of the
response, a function that completes the call in a thread, or None if the ordinary one has to. It must not wait."""


class RequestPool(ThreadPoolExecutor):
    """The pool of one method, whose calls run in `threads` unless `answer` answers them. It has no threads of its own,
    and is a ThreadPoolExecutor because gRPC accepts nothing else as the pool of a method."""

    def __init__(self, threads: HandlerThreads, answer: Answer) -> None:
        super().__init__(1)
        self._handlers, self._answer = threads, answer
        self._is_usable = all(hasattr(_server, name) for name in _NAMES)
        if not self._is_usable:
            _LOG.warning("grpcio %s is not known: calls over gRPC are slower", grpc.__version__)

    def submit(self, run: Callable[..., Any], /, *arguments: Any, **_: Any) -> Any:
        """Handle a call: `run` and `arguments` are those with which the server would run it in a thread."""
        if not self._is_usable or len(arguments) != 7 or arguments[0] is not _server._unary_response_in_pool:
            self._handlers.submit(run, *arguments)
            return
        respond, event, state, behavior, _, read, write = arguments
        note_message = _server._receive_message(state, event.call, read)

        def receive(received: Any) -> Any:
            finished = note_message(received)
            data, state.request = state.request, None
            outcome = self._try_answer(event, data) if data is not None else None
            if isinstance(outcome, bytes):
                _server._status(event, state, outcome)
            else:
                rest = (
                    run,
                    respond,
                    event,
                    state,
                    outcome or behavior,
                    lambda: _checked(event, state, data),
                    read,
                    write,
                )
                self._handlers.submit(*rest)
            return finished

        with state.condition:
            event.call.start_server_batch((cygrpc.ReceiveMessageOperation(0),), receive)
            state.due.add(_server._RECEIVE_MESSAGE_TOKEN)

    def _try_answer(self, event: Any, data: bytes) -> bytes | Behavior | None:
        left_s = max(event.call_details.deadline - time.time(), 0)
        try:
            return self._answer(data, event.invocation_metadata, left_s if left_s < MAX_LEFT_S else None)
        except Exception:  # noqa: BLE001  # otherwise gRPC's thread would end; the ordinary path reports it
            _LOG.exception("a call over gRPC: internal error")
            return None


def _checked(event: Any, state: Any, data: bytes | None) -> bytes | None:
    """The request, if there is one; a client that ends the call without it gets an error, as gRPC's own text."""
    if data is None:
        with state.condition:
            if state.client is _server._CLOSED:
                text = f'"{event.call_details.method}" requires exactly one request message.'
                _server._abort(state, event.call, cygrpc.StatusCode.unimplemented, text.encode())
    return data
