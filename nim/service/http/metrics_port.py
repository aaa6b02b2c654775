"""The port of the metrics alone: the same connections with the same limits as the API's, and nothing but metrics."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from ..service import Service


@contextlib.asynccontextmanager
async def serving(service: Service) -> AsyncIterator[None]:
    """Serve the metrics of `service` on their port. Raises OSError where it cannot listen."""
    import asyncio

    from .http_server import configured

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["method"] in ("GET", "HEAD")
        status = 404 if scope["path"] not in ("/metrics", "/") else 200 if asked else 405
        headers = [(b"content-type", CONTENT_TYPE_LATEST.encode() if status == 200 else b"text/plain")]
        headers += [(b"allow", b"GET, HEAD")] if status == 405 else []
        body = await service.metrics.text(service.metrics_limiter) if status == 200 else b""
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    config = configured(app, service.admission, None, lifespan="off")
    config.load()
    loop, state = asyncio.get_running_loop(), ServerState()
    kind: Any = config.http_protocol_class
    protocol = functools.partial(kind, config=config, server_state=state, app_state={})
    server = await loop.create_server(protocol, service.host, service.settings.metrics_port)
    try:
        yield
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
