"""Error responses: their JSON, their headers, and the handlers that make every error of the framework one of them."""

from __future__ import annotations

import http
import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from ..request_errors import RequestError, input_error, internal_error
from ..unsupported import unknown_path


def error_document(problem: RequestError, path: str) -> dict[str, Any]:
    """The JSON of `problem` for a request to `path`: paths under /v2 have the form of the Open Inference Protocol."""
    if path == "/v2" or path.startswith("/v2/"):
        return {"error": problem.message}
    return {"error": {"message": problem.message, "type": problem.kind, "code": problem.status}}


def error_body(problem: RequestError, path: str) -> bytes:
    """The body of the response: ASCII only, since a guest's message can contain characters that are not Unicode."""
    return json.dumps(error_document(problem, path)).encode()


def error_headers(problem: RequestError) -> list[tuple[bytes, bytes]]:
    """The response headers that depend on the status of `problem`."""
    if problem.status in (408, 413):
        return [(b"connection", b"close")]  # the rest of the request may still be on its way
    if problem.status == 415:
        return [(b"accept-encoding", b"gzip, deflate")]
    return [(b"retry-after", b"1")] if problem.status in (429, 503) else []


def error_response(problem: RequestError, path: str) -> Response:
    """The framework's response for `problem`."""
    response = Response(error_body(problem, path), problem.status, media_type="application/json")
    response.raw_headers += error_headers(problem)
    return response


def install_error_handlers(app: FastAPI) -> None:
    """Turn every exception in `app`, the framework's own included, into an error response without a traceback."""

    @app.exception_handler(RequestError)
    async def _problem(request: Request, error: RequestError) -> Response:
        return error_response(error, request.url.path)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        if error.status_code == http.HTTPStatus.NOT_FOUND:  # the framework's own: the service raises RequestError
            return error_response(unknown_path(request.url.path), request.url.path)
        text = str(error.detail)
        if error.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
            text = f"this path takes {(error.headers or {}).get('Allow', 'another method')}, not {request.method[:32]}"
        kind = http.HTTPStatus(error.status_code).phrase.title().replace(" ", "") + "Error"
        response = error_response(RequestError(error.status_code, kind, text), request.url.path)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> Response:
        text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return error_response(input_error(text), request.url.path)

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> Response:
        return error_response(internal_error(error), request.url.path)
