"""One HTTP connection: uvicorn's own, with limits of time and size on everything that comes before a request is handed
to the application. Which connections may be there at all is decided in `admission`.
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
"""How long a refused client may go on sending: closing at once would reset the connection under its answer."""
QUIET_S, _AGAIN_S = 1.0, 0.02
"""How long a connection is idle before the stopping service closes it, and how often it looks."""
MAX_PIPELINED = 16
"""Requests that a client may send ahead on one connection. Those after them are not read: the last answer says that
the connection ends, which tells a client to send them again."""


class HttpConnection(HttpToolsProtocol):
    """A connection. `admission` knows the limits, and asks every connection now and then to `check` its timers."""

    def __init__(self, admission: Admission, **how: Any) -> None:
        super().__init__(**how)
        self.admission = admission
        self.answered = False
        """Whether a request has been answered: its client is more likely to be a good one."""
        self.reserved = False
        """It is one too many, and may ask for health only."""
        self._heading, self._begun = True, False  # no complete head yet; a message has begun
        self._head = self._count = self._framing = 0
        self._completed = self._body_came = False  # in the piece that is parsed now
        self._reading = False  # the body of the newest request that the application has
        self._ended = False
        self._deadline: float | None = None
        self._unsent = 0
        self._stalled_since = 0.0

    def connection_made(self, transport: Any) -> None:
        """Start the timer of the first request, and let `admission` make room."""
        super().connection_made(transport)
        self.since = self.loop.time()
        self._deadline = self.since + self.admission.header_timeout_s
        self.admission.made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._ended = True
        self.admission.lost(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, never more of a head than a head may have."""
        while data and not self._ended:
            rest = b""
            if self._heading and len(data) > (room := self.admission.max_header_bytes - self._head):
                data, rest = data[:room], data[room:]
            self._completed = self._body_came = False
            super().data_received(data)
            if not self._ended:
                self._measure(len(data))
            data = rest

    def _measure(self, size: int) -> None:
        """Note `size` bytes that were parsed and belong to no body: heads, chunk headers and trailers."""
        if self._heading:
            if self._completed:
                self._head = 0
                if not self._begun:
                    return
            else:
                self._head += size
            if self._deadline is None:
                self._deadline = self.loop.time() + self.admission.header_timeout_s
            if self._head >= self.admission.max_header_bytes:
                self._refuse(self._headers_too_large())
        else:
            self._framing = 0 if self._body_came else self._framing + size
            if self._framing > self.admission.max_header_bytes:
                self._refuse(self._headers_too_large())

    # what the parser calls

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begun, self._deadline = True, None
        if not self._ended:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        if not self._ended:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header. Trailers are dropped: nobody reads them, and uvicorn would keep them all."""
        if self._heading and not self._ended:
            self._count += 1
            if self._count <= self.admission.max_headers:
                super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete: hand the request to the application, where this connection may ask it."""
        count, self._count = self._count, 0
        self._heading, self._head, self._framing, self._deadline = False, 0, 0, None
        if self._ended:
            return
        if count > self.admission.max_headers:
            self._refuse(self._headers_too_large())
            return
        if len(self.pipeline) >= MAX_PIPELINED:
            self._end_after_newest()
            return
        if self.reserved and self.admission.is_for_probes_only(self.url):
            self._refuse(self.admission.too_many())
            return
        self.admission.busy(self)
        super().on_headers_complete()
        self._reading = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_came = True
        if not self._ended:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here as a whole."""
        self._heading, self._completed, self._begun, self._reading = True, True, False, False
        if self._ended:
            return
        if self.cycle.response_complete:  # it was answered before it was read to its end
            self._deadline = self.loop.time() + self.timeout_keep_alive
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The connection is idle, or its next request is worked on."""
        self.answered = True
        self.since = self.loop.time()
        if not self.pipeline:
            self.admission.idle(self)
        if self._reading:
            # the rest of the request is dropped as it comes, within the time of a head
            self._deadline = self.since + self.admission.header_timeout_s
        super().on_response_complete()

    # refusing, and ending

    def _is_working(self) -> bool:
        """Whether the newest request is not answered yet."""
        cycle: Any = self.cycle  # None at first, whatever its type says
        return cycle is not None and not cycle.response_complete

    def shutdown(self) -> None:
        """The service stops: the next answer is the last one. A connection that was idle for long is closed, one that
        was used a moment ago not before it has been quiet: its client may just be sending."""
        transport = self.transport
        if transport.is_closing() or self._ended:
            return
        if self._is_working():
            self.cycle.keep_alive = False
        elif not self._begun and self.loop.time() - self.since >= QUIET_S and not self._has_unread():
            transport.close()
        else:
            self.loop.call_later(_AGAIN_S, self.shutdown)

    def _has_unread(self) -> bool:
        found = self.transport.get_extra_info("socket")
        if found is None or not hasattr(select, "poll"):
            return False
        unread = select.poll()
        unread.register(found.fileno(), select.POLLIN)
        return bool(unread.poll(0))

    def send_400_response(self, msg: str) -> None:
        """What could not be parsed is refused in the form of all errors."""
        self._refuse(RequestError(400, "InputError", "the request is not valid HTTP/1.1"))

    def _headers_too_large(self) -> RequestError:
        limits = self.admission
        text = f"the request's headers exceed {limits.max_header_bytes} bytes or {limits.max_headers} lines, the limits"
        return RequestError(431, "RequestHeadersTooLargeError", text)

    def _refuse(self, problem: RequestError) -> None:
        """Answer `problem` and end the connection; where an earlier request is worked on, its answer is the last."""
        if self._ended or self.transport.is_closing():
            return
        if self._is_working():
            if self._reading:  # it is this request's own body that cannot be read
                self._end()
                self.transport.close()
            else:
                self._end_after_newest()
            return
        self.admission.refused(str(problem.status))
        path = getattr(self, "url", b"").decode("latin-1")
        body = error_body(problem, path)
        told = {b"content-type": b"application/json", b"content-length": b"%d" % len(body), b"connection": b"close"}
        lines = [b"HTTP/1.1 %d %s" % (problem.status, http.HTTPStatus(problem.status).phrase.encode())]
        lines += [b"%s: %s" % pair for pair in {**told, **dict(error_headers(problem))}.items()]
        self.transport.write(b"\r\n".join([*lines, b"", b"" if self._is_head() else body]))
        self._end()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _is_head(self) -> bool:
        try:
            return bool(self.parser.get_method() == b"HEAD")
        except (AttributeError, httptools.HttpParserError):
            return False

    def _end(self) -> None:
        """Read nothing more."""
        self._ended = True
        self._unset_keepalive_if_required()
        self._deadline = self.loop.time() + LINGER_S
        self.admission.busy(self)

    def _end_after_newest(self) -> None:
        """Let the answer to the newest request that the application has be the last one."""
        self.cycle.keep_alive = False
        self._ended, self._deadline = True, None

    def _reset(self) -> None:
        """Close the connection, and let the kernel forget what its client does not read."""
        found = self.transport.get_extra_info("socket")
        if found is not None and hasattr(os, "dup"):
            # uvloop's socket has no options
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(found.fileno())) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def check(self, now: float) -> None:
        """Close what is over its time. Called about every second, and more often where limits are short."""
        transport = self.transport
        unsent = transport.get_write_buffer_size()
        if unsent != self._unsent or not unsent:
            self._unsent, self._stalled_since = unsent, now
        elif now - self._stalled_since > self.admission.write_timeout_s:
            self.admission.refused("unread")
            self._reset()
            return
        if self._deadline is None or now < self._deadline:
            return
        if self._ended:
            transport.abort()
        elif self._has_unread():
            return  # it is late since this process was
        elif self._is_working():
            self._deadline = now + self.admission.header_timeout_s  # the next request waits for this one's answer
        elif self._begun and self._heading:
            text = f"the request's headers were not complete after {self.admission.header_timeout_s:g} s"
            self._refuse(RequestError(408, "RequestTimeoutError", text))
        else:
            transport.close()
