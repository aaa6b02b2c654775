"""HTTP connections whose small inference requests are answered without the application."""

from __future__ import annotations

from typing import Any

from ..codec import SMALL_BYTES
from .connections import MAX_PIPELINED, HttpConnection
from .direct_inference import DirectInference
from .inference import InferenceTarget


class DirectConnection(HttpConnection):
    """A connection on which `direct` answers the requests that it can. The application gets a request only when that is
    known to be impossible."""

    def __init__(self, direct: DirectInference, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._direct = direct
        self._target: InferenceTarget | None = None  # of a request that the application does not have yet
        self._body = b""
        self._answered = 0  # requests that were answered directly, in the chunk that is parsed now

    def data_received(self, data: bytes) -> None:
        """Parse `data`."""
        self._answered = 0
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the application count and log a request that will not be complete."""
        if self._target is not None:
            self._pass_on()
        super().connection_lost(exc)

    def check(self, now: float) -> None:
        """Check the timers. A body that is not complete yet becomes subject to the application's time limit."""
        if self._target is not None:
            self._pass_on()
        super().check(now)

    def _start_request(self) -> None:
        self._target = self._find_target()
        if self._target is None:
            super()._start_request()

    def _find_target(self) -> InferenceTarget | None:
        """The target of a request that could be answered directly: its response is the next on this connection, and
        does not end it."""
        if self._answered >= MAX_PIPELINED or self._has_pending_response():
            return None
        if self.expect_100_continue or self.flow.write_paused:
            return None
        parser = self.parser
        is_plain = parser.get_method() == b"POST" and parser.get_http_version() == "1.1" and parser.should_keep_alive()
        if not is_plain or parser.should_upgrade() or any(name == b"transfer-encoding" for name, _ in self.headers):
            return None  # the rest of a chunked request can still be invalid after its body
        return self._direct.target(self.url)

    def _pass_on(self) -> None:
        """Pass the request to the application, with what has been received of its body."""
        self._target, body, self._body = None, self._body, b""
        super()._start_request()
        if body:
            super().on_body(body)

    def on_body(self, body: bytes) -> None:
        """A chunk of the body."""
        if self._target is None or self._read_ended:
            super().on_body(body)
            return
        self._body_received = True
        self._body = self._body + body if self._body else body
        if len(self._body) > SMALL_BYTES:
            self._pass_on()

    def on_message_complete(self) -> None:
        """The request has been received completely."""
        response = self._answer() if not self._read_ended else None
        if response is None:
            super().on_message_complete()
            return
        self._in_headers, self._message_completed, self._message_begun = True, True, False
        self._answered += 1
        self.server_state.total_requests += 1
        self.transport.write(response)
        self._idle_since = self.loop.time()
        self._deadline = self._idle_since + self.timeout_keep_alive
        self.admission.mark_idle(self)

    def _answer(self) -> bytes | None:
        """The response to a request that can be answered directly; the application gets every other."""
        if self._target is None:
            return None
        headers = self.server_state.default_headers
        response = self._direct.answer(self._target, self.url, self.scope, self._body, headers)
        if response is None:
            self._pass_on()
        else:
            self._target, self._body = None, b""
        return response
