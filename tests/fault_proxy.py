"""An HTTP proxy on loopback in front of a registry. It records requests and injects faults, reproducibly by seed."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.running.waiting import PATIENCE_S

_BLOCK = 1 << 16
FAULTS = ("503", "drop before", "drop amid", "drop after")


@dataclass
class Request:
    """A request that the proxy received; `sent` is the number of bytes of its body that were forwarded."""

    method: str
    path: str
    headers: dict[str, str]
    fault: str | None
    status: int = 0
    sent: int = 0


@dataclass
class FaultProxy:
    """The proxy's state. `fault` returns the fault to inject into a request, or None."""

    upstream: int
    fault: Callable[[Request], str | None] = lambda _: None
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def uploads(self) -> list[Request]:
        """Requests other than GET and HEAD: those that can change the registry."""
        return [each for each in self.requests if each.method not in ("GET", "HEAD")]


def random_faults(seed: int) -> Callable[[Request], str | None]:
    """A random fault for half of the requests."""
    generator = random.Random(seed)
    return lambda _: generator.choice(FAULTS) if generator.random() < 0.5 else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE_S
    proxy: FaultProxy

    def handle(self) -> None:
        # Docker tries TLS first, and would wait for a response
        if self.connection.recv(1, socket.MSG_PEEK) != b"\x16":
            super().handle()

    def handle_any(self) -> None:
        proxy = self.proxy
        request = Request(self.command, self.path, dict(self.headers), None)
        request.fault = proxy.fault(request)
        proxy.requests.append(request)
        self.close_connection = True
        if request.fault == "drop before":
            return self._drop()
        if request.fault is not None and request.fault.isdigit():
            for _ in self._body():
                pass
            request.status = int(request.fault)
            self.send_response(request.status)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            return None
        return self._forward(request)

    def _forward(self, request: Request) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.proxy.upstream, timeout=PATIENCE_S)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders()
            chunked = "Transfer-Encoding" in self.headers
            half = int(self.headers.get("Content-Length") or 0) // 2
            for block in self._body():
                upstream.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
                request.sent += len(block)
                if request.fault == "drop amid" and request.sent >= half:
                    return self._drop()
            if chunked:
                upstream.send(b"0\r\n\r\n")
            response = upstream.getresponse()
            request.status = response.status
            body = response.read()
            if request.fault in ("drop after", "drop amid"):
                return self._drop()
            self.send_response_only(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
            if length is not None:
                self.send_header("Content-Length", length)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
        except (OSError, ValueError, http.client.HTTPException):  # the client or the registry closed the connection
            self._drop()
        finally:
            upstream.close()

    def _body(self) -> Iterator[bytes]:
        """The request's body: chunked, as Docker sends it, or with a Content-Length."""
        if "Transfer-Encoding" not in self.headers:
            left = int(self.headers.get("Content-Length") or 0)
            while left and (block := self.rfile.read(min(left, _BLOCK))):
                left -= len(block)
                yield block
            return
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _drop(self) -> None:
        """Close the connection with a reset (RST)."""
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignore errors: broken connections are intended."""


@contextlib.contextmanager
def fault_proxy(upstream: int, fault: Callable[[Request], str | None] = lambda _: None) -> Iterator[FaultProxy]:
    """Run a proxy in front of the registry on port `upstream`."""
    proxy = FaultProxy(upstream, fault)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    with _Server(("127.0.0.1", 0), handler) as server:
        proxy.port = int(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
