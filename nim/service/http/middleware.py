"""What is done around each HTTP request, whatever answers it: its id, its line in the log, and the word to a client
that the connection ends because the service stops.

It is ASGI by hand: Starlette's middleware for functions costs more than a small inference.
"""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..logs import REQUEST_ID, request_id
from ..service import Service

HEADER = b"x-request-id"
_ALLOW_GET, _ALLOW_HEAD = (b"allow", b"GET"), (b"allow", b"GET, HEAD")
_ACCESS = logging.getLogger("portalis.access")


class RequestMiddleware:
    """The ASGI application around `app`."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._drain, self._probes = app, service.drain, service.probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        identity = request_id(next((value for name, value in scope["headers"] if name == HEADER), b""))
        REQUEST_ID.set(identity)  # a request has a task, and so a context, of its own
        header = (HEADER, identity.encode())
        status, complete = 0, False

        async def answer(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                told = message.get("headers", ())
                if status == 405:
                    told = [_ALLOW_HEAD if pair == _ALLOW_GET else pair for pair in told]
                message["headers"] = [*told, header]
                if self._drain.stopping:
                    message["headers"].append((b"connection", b"close"))
            elif message["type"] == "http.response.body":
                complete = not message.get("more_body", False)
            await send(message)

        with self._drain.track_request():
            try:
                # HEAD is what GET answers, without a body, which the server leaves out: it goes by its own scope
                await self._app({**scope, "method": "GET"} if scope["method"] == "HEAD" else scope, receive, answer)
            except Exception:
                # the framework raises it again after it was logged and answered; the server would log it once more
                if not complete:
                    raise
            finally:
                self._log(scope, status, time.perf_counter() - began)

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"]
        level = logging.DEBUG if path in self._probes and status < 400 else logging.INFO
        if not _ACCESS.isEnabledFor(level):
            return
        # `status` 0: the client left before it was answered
        fields = {"method": scope["method"], "path": path, "status": status, "duration_ms": round(seconds * 1e3, 3)}
        model = scope.get("path_params", {}).get("name")
        if model:
            fields["model"] = model
        # by hand: to find out which line of which file logs takes as long as all the rest
        record = logging.LogRecord(_ACCESS.name, level, "", 0, "%s %s %d", (scope["method"], path, status), None)
        record.fields = fields
        _ACCESS.handle(record)
