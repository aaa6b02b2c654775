"""Problems that a client is told: each has an HTTP status and goes out as ``{"error": {message, type, code}}``."""

from __future__ import annotations

import http
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from .runtime import Cancelled, GuestStatus, GuestTimeout, InputError, MemoryLimit, SettingsError, WasmError

_LOG = logging.getLogger(__name__)
_BAD_REQUEST = (InputError, SettingsError, GuestStatus, MemoryLimit)  # as the Triton backend tells them apart


class Problem(Exception):
    """A request that cannot be answered. `kind` is a stable name, `status` the HTTP status."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message


def bad_input(message: str) -> Problem:
    """The request cannot be understood; `message` names what is wrong with it."""
    return Problem(400, "InputError", message)


def of_runtime(error: WasmError) -> Problem:
    """The problem that an error of the runtime is to the client: its own fault, or the guest's."""
    status = 400 if isinstance(error, _BAD_REQUEST) else 504 if isinstance(error, (GuestTimeout, Cancelled)) else 500
    return Problem(status, type(error).__name__, str(error))


def envelope(status: int, kind: str, message: str) -> dict[str, Any]:
    """The JSON that tells a problem."""
    return {"error": {"message": message, "type": kind, "code": status}}


def answer(problem: Problem) -> JSONResponse:
    """The response for `problem`."""
    return JSONResponse(envelope(problem.status, problem.kind, problem.message), problem.status)


def install(app: FastAPI) -> None:
    """Let every error leave `app` in the envelope, those of the framework included, and none with a traceback."""

    @app.exception_handler(Problem)
    async def _problem(_: Request, error: Problem) -> JSONResponse:
        return answer(error)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        kind = http.HTTPStatus(error.status_code).phrase.title().replace(" ", "") + "Error"
        content = envelope(error.status_code, kind, str(error.detail))
        return JSONResponse(content, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def _validation(_: Request, error: RequestValidationError) -> JSONResponse:
        text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return answer(bad_input(text))

    @app.exception_handler(Exception)
    async def _unexpected(_: Request, error: Exception) -> JSONResponse:
        _LOG.error("a request failed in the service itself", exc_info=error)
        return answer(Problem(500, "InternalServerError", "the service failed; its log says how"))
