"""One HTTP connection: uvicorn's protocol with limits on the time and size of everything before a request is complete.

`admission` decides which connections may exist.
"""

from __future__ import annotations

import contextlib
import http
import os
import select
import socket
import struct
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..admission import Admission
from ..request_errors import RequestError
from .error_responses import error_body, error_headers

LINGER_S = 1.0
"""Seconds for which a rejected client may continue to send: an immediate close would reset the connection before the
client has read the response."""
QUIET_S, _RECHECK_S = 1.0, 0.02
"""Seconds that a connection must be idle before a stopping service closes it, and seconds between these checks."""
MAX_PIPELINED = 16
"""Maximum number of pipelined requests on one connection. Further requests are not read: the last response announces
the end of the connection, so that the client sends them again."""


class HttpConnection(HttpToolsProtocol):
    """A connection. `admission` has the limits, and calls `check` of every connection about every second."""

    def __init__(self, admission: Admission, **options: Any) -> None:
        super().__init__(**options)
        self.admission = admission
        self.reserved = False
        """Whether the connection exceeds the limit, so that it may only request health."""
        self._in_headers, self._message_begun = True, False
        self._header_bytes = self._header_count = self._framing_bytes = 0
        self._message_completed = self._body_received = False  # in the chunk that is parsed now
        self._receiving_body = False  # of the newest request that the application has
        self._read_ended = False
        self._deadline: float | None = None
        self._unsent_bytes = 0
        self._stalled_since = 0.0

    def connection_made(self, transport: Any) -> None:
        """Start the timer of the first request, and report the connection to `admission`."""
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._deadline = self._idle_since + self.admission.header_timeout_s
        self.admission.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from `admission`."""
        self._read_ended = True
        self.admission.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse `data`. Headers are parsed in portions of at most the number of bytes that the limit still allows."""
        while data and not self._read_ended:
            rest = b""
            if self._in_headers and len(data) > (allowed := self.admission.max_header_bytes - self._header_bytes):
                data, rest = data[:allowed], data[allowed:]
            self._message_completed = self._body_received = False
            super().data_received(data)
            if not self._read_ended:
                self._count_overhead(len(data))
            data = rest

    def _count_overhead(self, size: int) -> None:
        """Count `size` parsed bytes that are not part of a body: headers, chunk headers and trailers."""
        if self._in_headers:
            if self._message_completed:
                self._header_bytes = 0
                if not self._message_begun:
                    return
            else:
                self._header_bytes += size
            if self._deadline is None:
                self._deadline = self.loop.time() + self.admission.header_timeout_s
            if self._header_bytes >= self.admission.max_header_bytes:
                self._reject(self._headers_too_large())
        else:
            self._framing_bytes = 0 if self._body_received else self._framing_bytes + size
            if self._framing_bytes > self.admission.max_header_bytes:
                self._reject(self._headers_too_large())

    # -- callbacks of the parser -----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._message_begun, self._deadline = True, None
        if not self._read_ended:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A fragment of the request target."""
        if not self._read_ended:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header. Trailers are ignored: they are not used, and uvicorn would store all of them."""
        if self._in_headers and not self._read_ended:
            self._header_count += 1
            if self._header_count <= self.admission.max_headers:
                # as in uvicorn, whose method would be called once more for each header
                name = name.lower()
                self.expect_100_continue |= name == b"expect" and value.lower() == b"100-continue"
                self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The headers are complete: pass the request to the application, or reject it."""
        count, self._header_count = self._header_count, 0
        self._in_headers, self._header_bytes, self._framing_bytes, self._deadline = False, 0, 0, None
        if self._read_ended:
            return
        if count > self.admission.max_headers:
            self._reject(self._headers_too_large())
            return
        if len(self.pipeline) >= MAX_PIPELINED:
            self._close_after_newest_response()
            return
        if self.reserved and self.admission.is_for_probes_only(self.url):
            self._reject(self.admission.too_many_connections())
            return
        self.admission.mark_busy(self)
        self._start_request()

    def _start_request(self) -> None:
        """Pass the request to the application; its body follows."""
        super().on_headers_complete()
        self._receiving_body = True

    def on_body(self, body: bytes) -> None:
        """A chunk of the body."""
        self._body_received = True
        if not self._read_ended:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has been received completely."""
        self._in_headers, self._message_completed = True, True
        self._message_begun, self._receiving_body = False, False
        if self._read_ended:
            return
        if self.cycle.response_complete:  # the response was sent before the request was complete
            self._deadline = self.loop.time() + self.timeout_keep_alive
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A response has been sent: the connection is idle, or its next request is processed."""
        self._idle_since = self.loop.time()
        if not self.pipeline:
            self.admission.mark_idle(self)
        if self._receiving_body:
            # the remainder of the request is ignored, and must arrive within the time allowed for headers
            self._deadline = self._idle_since + self.admission.header_timeout_s
        super().on_response_complete()

    # -- rejecting requests, and closing ---------------------------------------------------------------------------

    def _has_pending_response(self) -> bool:
        """Whether the newest request has no complete response yet."""
        cycle: Any = self.cycle  # None at first, contrary to its declared type
        return cycle is not None and not cycle.response_complete

    def shutdown(self) -> None:
        """Close the connection after the pending response, because the service stops.

        A connection that has been idle for `QUIET_S` is closed immediately. One that was used more recently is closed
        later, because its client might be sending a request at this moment.
        """
        transport = self.transport
        if transport.is_closing() or self._read_ended:
            return
        if self._has_pending_response():
            self.cycle.keep_alive = False
        elif not self._message_begun and self.loop.time() - self._idle_since >= QUIET_S and not self._has_unread_data():
            transport.close()
        else:
            self.loop.call_later(_RECHECK_S, self.shutdown)

    def _has_unread_data(self) -> bool:
        connection = self.transport.get_extra_info("socket")
        if connection is None or not hasattr(select, "poll"):
            return False
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def send_400_response(self, msg: str) -> None:
        """Reject a request that the parser did not accept, with the service's error format instead of uvicorn's."""
        self._reject(RequestError(400, "InputError", "the request is not valid HTTP/1.1"))

    def _headers_too_large(self) -> RequestError:
        limits = self.admission
        text = f"the request's headers exceed {limits.max_header_bytes} bytes or {limits.max_headers} lines, the limits"
        return RequestError(431, "RequestHeadersTooLargeError", text)

    def _reject(self, error: RequestError) -> None:
        """Respond with `error` and close the connection; if an earlier request is in progress, after its response and
        without `error`."""
        if self._read_ended or self.transport.is_closing():
            return
        if self._has_pending_response():
            if self._receiving_body:  # the error is in the body of the request in progress
                self._stop_reading()
                self.transport.close()
            else:
                self._close_after_newest_response()
            return
        self.admission.count_refused(str(error.status))
        path = getattr(self, "url", b"").decode("latin-1")
        body = error_body(error, path)
        headers = {b"content-type": b"application/json", b"content-length": b"%d" % len(body), b"connection": b"close"}
        lines = [b"HTTP/1.1 %d %s" % (error.status, http.HTTPStatus(error.status).phrase.encode())]
        lines += [b"%s: %s" % pair for pair in {**headers, **dict(error_headers(error))}.items()]
        self.transport.write(b"\r\n".join([*lines, b"", b"" if self._is_head() else body]))
        self._stop_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _is_head(self) -> bool:
        try:
            return bool(self.parser.get_method() == b"HEAD")
        except (AttributeError, httptools.HttpParserError):
            return False

    def _stop_reading(self) -> None:
        """Ignore all further data, and close the connection after `LINGER_S`."""
        self._read_ended = True
        self._unset_keepalive_if_required()
        self._deadline = self.loop.time() + LINGER_S
        self.admission.mark_busy(self)

    def _close_after_newest_response(self) -> None:
        """Ignore all further data; the response to the newest request that the application has is the last one."""
        self.cycle.keep_alive = False
        self._read_ended, self._deadline = True, None

    def _reset(self) -> None:
        """Close the connection, and discard the data that the client has not read, also in the kernel."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None and hasattr(os, "dup"):
            # uvloop's socket object has no setsockopt
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
                duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def check(self, now: float) -> None:
        """Close the connection if one of its timers has expired; `now` is the loop's time."""
        transport = self.transport
        unsent_bytes = transport.get_write_buffer_size()
        if unsent_bytes != self._unsent_bytes or not unsent_bytes:
            self._unsent_bytes, self._stalled_since = unsent_bytes, now
        elif now - self._stalled_since > self.admission.write_timeout_s:
            self.admission.count_refused("unread")
            self._reset()
            return
        if self._deadline is None or now < self._deadline:
            return
        if self._read_ended:
            transport.abort()
        elif self._has_unread_data():
            return  # this process is late, not the client
        elif self._has_pending_response():
            self._deadline = now + self.admission.header_timeout_s  # the next request waits for this response
        elif self._message_begun and self._in_headers:
            text = f"the request's headers were not complete after {self.admission.header_timeout_s:g} s"
            self._reject(RequestError(408, "RequestTimeoutError", text))
        else:
            transport.close()
