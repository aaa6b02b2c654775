"""Errors of requests: each has an HTTP status, and a constructor where several modules raise it."""

from __future__ import annotations

import logging

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
)

MODEL_NAME = "<name of the model>"
"""Stands for the model's name in a message until `RequestError.insert_model_name`."""
INTERNAL = "InternalServerError"
"""The kind of an error that is a bug of the service or of the runtime."""
_LOG = logging.getLogger(__name__)
_STATUSES = (  # statuses of the runtime's errors, for the same groups as in the Triton backend; other errors are 500
    ((InputError, SettingsError, GuestStatus, MemoryLimit), 400),
    ((HostBusy,), 503),
    ((GuestTimeout, Cancelled), 504),
)


class RequestError(Exception):
    """The failure of a request. Clients get it as ``{"error": {message, type, code}}``, except under /v2."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status."""
        self.kind = kind
        """A stable name: the JSON's ``type``, and a label of the metrics."""
        self.message = message

    def insert_model_name(self, name: str) -> None:
        """Complete a message in which `MODEL_NAME` stands for the name."""
        self.message = self.message.replace(MODEL_NAME, name)


class ModelClosed(RequestError):
    """The model accepts no more requests: the service stops, or the model was unloaded or replaced by a new one."""

    def __init__(self, message: str) -> None:
        super().__init__(503, "ServiceUnavailableError", message)


def input_error(message: str) -> RequestError:
    """The request is invalid; `message` names the problem."""
    return RequestError(400, "InputError", message)


def client_disconnected() -> RequestError:
    """The client has closed the connection. The error is for the metrics only: no client receives it."""
    return RequestError(499, "ClientDisconnected", "the client disconnected before the response")


def request_cancelled() -> RequestError:
    """The client has cancelled its call over gRPC. The error is for the metrics only: no client receives it."""
    return RequestError(499, "Cancelled", "the client cancelled the request")


def request_too_large(max_bytes: int) -> RequestError:
    """The body has more than `max_bytes` bytes."""
    return RequestError(413, "RequestTooLargeError", f"the request exceeds the limit of {max_bytes} bytes")


def not_found(message: str) -> RequestError:
    """No model, service or path has the requested name."""
    return RequestError(404, "NotFoundError", message)


def response_too_large(size: int, max_bytes: int) -> RequestError:
    """The model's outputs have `size` bytes, more than a response may have."""
    text = f"the model's outputs have {size} bytes, more than the {max_bytes} of a response (max_response_bytes)"
    return RequestError(500, "ResponseTooLargeError", text)


def not_supported(message: str) -> RequestError:
    """The service lacks the requested feature: status 501, which is UNIMPLEMENTED over gRPC."""
    return RequestError(501, "NotImplementedError", message)


def queue_full(model: str, waiting: int) -> RequestError:
    """The maximum number of requests, `waiting`, waits for `model`."""
    text = f"model '{model}' has {waiting} waiting requests, its limit; retry later"
    return RequestError(429, "TooManyRequestsError", text)


def unavailable(message: str) -> RequestError:
    """The service cannot handle the request now; a later attempt can succeed."""
    return RequestError(503, "ServiceUnavailableError", message)


def memory_exhausted() -> RequestError:
    """The requests in flight use the whole memory budget."""
    return unavailable("the requests in flight use the whole memory budget (max_buffered_bytes); retry later")


def from_runtime_error(error: WasmError) -> RequestError:
    """The error that a client gets for an error of the runtime. Its kind is the class of `error`; its status depends on
    whether the client, the guest or the host is at fault."""
    status = next((status for kinds, status in _STATUSES if isinstance(error, kinds)), 500)
    kind = INTERNAL if isinstance(error, InternalError) else type(error).__name__
    return RequestError(status, kind, str(error))


def internal_error(error: Exception, context: str = "the service") -> RequestError:
    """Log `error`, a bug of the service, with its traceback and `context`. Returns the error for the client, which has
    no details."""
    _LOG.error("%s: internal error", context, exc_info=error)
    return RequestError(500, INTERNAL, "internal error; see the server log")
