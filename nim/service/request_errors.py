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
    request_timeout_s,
)

INTERNAL = "InternalServerError"  # the kind of a bug of ours, wherever it is
_LOG = logging.getLogger(__name__)
_STATUSES = (  # the kinds are those that the Triton backend tells apart
    ((InputError, SettingsError, GuestStatus, MemoryLimit), 400),
    ((HostBusy,), 503),
    ((GuestTimeout, Cancelled), 504),
)


class RequestError(Exception):
    """A request that cannot be answered. `kind` is a stable name, `status` the HTTP status."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message


def input_error(message: str) -> RequestError:
    """The request cannot be understood; `message` names what is wrong with it."""
    return RequestError(400, "InputError", message)


def client_disconnected() -> RequestError:
    """The client has closed the connection; this is for the metrics, nobody gets it."""
    return RequestError(499, "ClientDisconnected", "the client left before its request was answered")


def request_too_large(most: int) -> RequestError:
    """The body is larger than `most` bytes."""
    return RequestError(413, "RequestTooLargeError", f"the request is larger than {most} bytes, the limit")


def not_found(message: str) -> RequestError:
    """No model, service or path has the requested name."""
    return RequestError(404, "NotFoundError", message)


def response_too_large(size: int, most: int) -> RequestError:
    """The model's outputs have `size` bytes, more than a response may have."""
    text = f"the model's outputs have {size} bytes; a response may have {most} (max_response_bytes)"
    return RequestError(500, "ResponseTooLargeError", text)


def not_supported(message: str) -> RequestError:
    """A feature that the service does not have: 501, which is UNIMPLEMENTED over gRPC."""
    return RequestError(501, "NotImplementedError", message)


def unavailable(message: str) -> RequestError:
    """The service cannot handle the request now; a later attempt can succeed."""
    return RequestError(503, "ServiceUnavailableError", message)


def memory_exhausted() -> RequestError:
    """The requests in flight hold all the memory that they may hold."""
    return unavailable("the requests at work take all the memory that they may (max_buffered_bytes); try again later")


def from_runtime_error(error: WasmError) -> RequestError:
    """The problem that an error of the runtime is to the client: its own fault, the guest's, or this host's."""
    status = next((status for kinds, status in _STATUSES if isinstance(error, kinds)), 500)
    kind = INTERNAL if isinstance(error, InternalError) else type(error).__name__
    return RequestError(status, kind, str(error))


def guest_timeout(parameters: Mapping[str, Any]) -> float | None:
    """The seconds that the module may compute for a request, from the request's parameters, as on Triton. Raises
    RequestError with status 400 for an invalid value, and for any other key that begins with ``wasm.``."""
    try:
        return request_timeout_s(parameters)
    except SettingsError as problem:
        raise input_error(str(problem)) from None


def internal_error(error: Exception, where: str = "the service") -> RequestError:
    """The problem that a bug of the service is to the client; its log says more."""
    _LOG.error("%s: a request failed in the service itself", where, exc_info=error)
    return RequestError(500, INTERNAL, "internal error; see the server log")
