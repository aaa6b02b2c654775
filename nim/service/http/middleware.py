"""Middleware around every HTTP request: its request id, the access log, and closing connections while stopping.

It is written as plain ASGI: Starlette's middleware for functions takes longer than a small inference.
"""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..access_log import log_request
from ..logs import REQUEST_ID, request_id
from ..service import Service

REQUEST_ID_HEADER = b"x-request-id"
_ALLOW_GET, _ALLOW_GET_HEAD = (b"allow", b"GET"), (b"allow", b"GET, HEAD")


class RequestMiddleware:
    """ASGI middleware that passes every request to `app`, and adds headers to its response."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._drain, self._probes = app, service.drain, service.probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        identity = request_id(next((value for name, value in scope["headers"] if name == REQUEST_ID_HEADER), b""))
        REQUEST_ID.set(identity)  # each request has its own task, and therefore its own context
        id_header = (REQUEST_ID_HEADER, identity.encode())
        status, complete = 0, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.get("headers", ())
                if status == 405:
                    headers = [_ALLOW_GET_HEAD if pair == _ALLOW_GET else pair for pair in headers]
                message["headers"] = [*headers, id_header]
                if self._drain.stopping:
                    message["headers"].append((b"connection", b"close"))
            elif message["type"] == "http.response.body":
                complete = not message.get("more_body", False)
            await send(message)

        with self._drain.track_request():
            try:
                # HEAD is served as GET; the server omits the body, because its own scope still has the method HEAD
                request_scope = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
                await self._app(request_scope, receive, send_with_headers)
            except Exception:
                # the framework has logged the error and sent a response; the server would log it a second time
                if not complete:
                    raise
            finally:
                seconds, model = time.perf_counter() - began, scope.get("path_params", {}).get("name")
                level = logging.DEBUG if scope["path"] in self._probes and status < 400 else logging.INFO
                log_request(scope["method"], scope["path"], status, seconds, model, level)
