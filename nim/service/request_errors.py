"""Problems that a client is told: each has an HTTP status and goes out as ``{"error": {message, type, code}}``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

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


def client_disconnected() -> Problem:
    """The client has closed the connection; this is for the metrics, nobody gets it."""
    return Problem(499, "ClientDisconnected", "the client left before its request was answered")


def request_too_large(most: int) -> Problem:
    """The body is larger than `most` bytes."""
    return Problem(413, "RequestTooLargeError", f"the request is larger than {most} bytes, the limit")


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


def unexpected(error: Exception, where: str = "the service") -> Problem:
    """The problem that a bug of the service is to the client; its log says more."""
    _LOG.error("%s: a request failed in the service itself", where, exc_info=error)
    return Problem(500, INTERNAL, "internal error; see the server log")
