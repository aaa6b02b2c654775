"""The middleware around requests: internal errors are reported and logged once, with the request id."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from portalis.nim.service.app import Application, create_app
from portalis.nim.service.settings import ServiceSettings


@pytest.fixture
def app(tmp_path: Path) -> Application:
    return create_app(ServiceSettings.model_validate({"models": [{"name": "a", "file": "a.wasm"}]}), tmp_path)


def get(app: Application, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the response to a GET request, through the ASGI interface."""
    sent: list[dict[str, Any]] = []
    request_headers = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": request_headers,
        "state": {},
    }

    request_sent = False

    async def receive() -> dict[str, Any]:
        nonlocal request_sent
        if request_sent:  # the client waits for the response
            await asyncio.Event().wait()
        request_sent = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    start, *parts = sent
    response_headers = {key.decode().lower(): value.decode() for key, value in start["headers"]}
    return start["status"], response_headers, b"".join(part["body"] for part in parts)


def test_an_internal_error_is_500_with_the_request_id_and_logged_once(
    app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    async def boom() -> None:
        raise RuntimeError("secret detail")

    app.add_api_route("/boom", boom)
    with caplog.at_level(logging.INFO):
        status, headers, body = get(app, "/boom", x_request_id="seven")
    assert (status, headers["x-request-id"]) == (500, "seven")
    assert json.loads(body)["error"]["code"] == 500 and b"secret" not in body
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]
    assert app.service.drain.in_flight == 0


def test_an_error_in_the_middle_of_a_response_reaches_the_server(app: Application) -> None:
    async def half() -> StreamingResponse:
        async def parts() -> Any:
            yield b"half"
            raise RuntimeError("in the middle")

        return StreamingResponse(parts())

    app.add_api_route("/half", half)
    with pytest.raises(RuntimeError, match="in the middle"):
        get(app, "/half")
    assert app.service.drain.in_flight == 0


def test_responses_close_their_connections_only_while_the_service_stops(app: Application) -> None:
    assert "connection" not in get(app, "/v1/health/live")[1]
    app.service.drain.stopping = True
    assert get(app, "/v1/health/live")[1]["connection"] == "close"
    status, headers, body = get(app, "/v1/health/ready")
    assert (status, headers["connection"]) == (503, "close")
    assert json.loads(body)["error"]["message"] == "Service is not ready: it is stopping"
