"""Problems that a client is told: each has an HTTP status and goes out as ``{"error": {message, type, code}}``."""

from __future__ import annotations

import http
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .runtime_api import (
    Cancelled,
    GuestStatus,
    GuestTimeout,
    HostBusy,
    InputError,
    InternalError,
    MemoryLimit,
    SettingsError,
    WasmError,
    timeout_of,
)

if TYPE_CHECKING:  # the process that decodes requests needs no framework
    from fastapi import FastAPI, Request
    from fastapi.responses import Response

INTERNAL = "InternalServerError"  # the kind of a bug of ours, wherever it is
_LOG = logging.getLogger(__name__)
_STATUSES = (  # the kinds are those that the Triton backend tells apart
    ((InputError, SettingsError, GuestStatus, MemoryLimit), 400),
    ((HostBusy,), 503),
    ((GuestTimeout, Cancelled), 504),
)


class Problem(Exception):
    """A request that cannot be answered. `kind` is a stable name, `status` the HTTP status."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message


def bad_input(message: str) -> Problem:
    """The request cannot be understood; `message` names what is wrong with it."""
    return Problem(400, "InputError", message)


def of_runtime(error: WasmError) -> Problem:
    """The problem that an error of the runtime is to the client: its own fault, the guest's, or this host's."""
    status = next((status for kinds, status in _STATUSES if isinstance(error, kinds)), 500)
    kind = INTERNAL if isinstance(error, InternalError) else type(error).__name__
    return Problem(status, kind, str(error))


def guest_timeout(parameters: Mapping[str, Any]) -> float | None:
    """The seconds that a request's parameters allow the module, as on Triton. Raises Problem with status 400 for a bad
    value, and for any other key that begins with ``wasm.``."""
    try:
        return timeout_of(parameters)
    except SettingsError as problem:
        raise bad_input(str(problem)) from None


def envelope(status: int, kind: str, message: str) -> dict[str, Any]:
    """The JSON that tells a problem."""
    return {"error": {"message": message, "type": kind, "code": status}}


def told(problem: Problem, path: str) -> dict[str, Any]:
    """The JSON that tells `problem` to who has asked for `path`: the Open Inference Protocol has a form of its own."""
    if path == "/v2" or path.startswith("/v2/"):
        return {"error": problem.message}
    return envelope(problem.status, problem.kind, problem.message)


def headers_of(problem: Problem) -> list[tuple[bytes, bytes]]:
    """The headers that go with `problem`."""
    if problem.status in (408, 413):
        return [(b"connection", b"close")]  # the rest of the request may still be on its way
    if problem.status == 415:
        return [(b"accept-encoding", b"gzip, deflate")]
    return [(b"retry-after", b"1")] if problem.status in (429, 503) else []


def body_of(problem: Problem, path: str) -> bytes:
    """The body that tells `problem` to who has asked for `path`: ASCII, since a guest's text may be no Unicode."""
    return json.dumps(told(problem, path)).encode()


def answer(problem: Problem, path: str) -> Response:
    """The response for `problem` to who has asked for `path`."""
    from fastapi.responses import Response

    response = Response(body_of(problem, path), problem.status, media_type="application/json")
    response.raw_headers += headers_of(problem)
    return response


def unexpected(error: Exception, where: str = "the service") -> Problem:
    """The problem that a bug of the service is to the client; its log says more."""
    _LOG.error("%s: a request failed in the service itself", where, exc_info=error)
    return Problem(500, INTERNAL, "internal error; see the server log")


def install(app: FastAPI) -> None:
    """Let every error leave `app` as `answer` says it, those of the framework included, and none with a traceback."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    from .unsupported import no_path  # which raises Problem

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> Response:
        return answer(error, request.url.path)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        if error.status_code == http.HTTPStatus.NOT_FOUND:  # the framework's own: ours are Problems
            return answer(no_path(request.url.path), request.url.path)
        text = str(error.detail)
        if error.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
            text = f"this path takes {(error.headers or {}).get('Allow', 'another method')}, not {request.method[:32]}"
        kind = http.HTTPStatus(error.status_code).phrase.title().replace(" ", "") + "Error"
        response = answer(Problem(error.status_code, kind, text), request.url.path)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> Response:
        text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return answer(bad_input(text), request.url.path)

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> Response:
        return answer(unexpected(error), request.url.path)
