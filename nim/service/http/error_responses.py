"""Error responses: their JSON and headers, and the handlers that convert exceptions in the framework to them."""

from __future__ import annotations

import http
import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from ..codec.compression import UNKNOWN_ENCODING
from ..request_errors import RequestError, input_error, internal_error
from ..unsupported import unknown_path


def error_document(error: RequestError, path: str) -> dict[str, Any]:
    """The JSON of `error` for a request to `path`: paths under /v2 use the format of the Open Inference Protocol."""
    if _is_v2(path):
        return {"error": error.message}
    return {"error": {"message": error.message, "type": error.kind, "code": error.status}}


def _is_v2(path: str) -> bool:
    return path == "/v2" or path.startswith("/v2/")


def _with_phrase(error: RequestError, path: str) -> RequestError:
    """`error` of the framework; under /v2 its text begins with the phrase of the status, which is all that Triton
    says."""
    if not _is_v2(path) or error.status not in (404, 405):
        return error
    return RequestError(error.status, error.kind, f"{http.HTTPStatus(error.status).phrase}; {error.message}")


def error_body(error: RequestError, path: str) -> bytes:
    """The body of the response: ASCII only, because a guest's message can contain surrogates."""
    return json.dumps(error_document(error, path)).encode()


def error_headers(error: RequestError) -> list[tuple[bytes, bytes]]:
    """The response headers that depend on the status of `error`."""
    if error.status in (408, 413):
        return [(b"connection", b"close")]  # the client may still be sending the request
    if error.kind == UNKNOWN_ENCODING:
        return [(b"accept-encoding", b"gzip, deflate")]
    return [(b"retry-after", b"1")] if error.status in (429, 503) else []


def error_response(error: RequestError, path: str) -> Response:
    """The framework's response for `error`."""
    response = Response(error_body(error, path), error.status, media_type="application/json")
    response.raw_headers += error_headers(error)
    return response


def install_error_handlers(app: FastAPI) -> None:
    """Convert every exception in `app`, including those of the framework, to an error response without a traceback."""

    @app.exception_handler(RequestError)
    async def _problem(request: Request, error: RequestError) -> Response:
        return error_response(error, request.url.path)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        path = request.url.path
        if error.status_code == http.HTTPStatus.NOT_FOUND:  # raised by the framework: the service raises RequestError
            return error_response(_with_phrase(unknown_path(path), path), path)
        text = str(error.detail)
        if error.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = (error.headers or {}).get("Allow", "other methods")
            text = f"method {request.method[:32]} is not allowed for this path, which accepts {allowed}"
        kind = http.HTTPStatus(error.status_code).phrase.title().replace(" ", "") + "Error"
        response = error_response(_with_phrase(RequestError(error.status_code, kind, text), path), path)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> Response:
        text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return error_response(input_error(text), request.url.path)

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> Response:
        return error_response(internal_error(error), request.url.path)
