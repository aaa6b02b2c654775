"""Handlers of calls: each adds the request id, the access log, the count of requests in flight, and the status of
errors."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from ..access_log import log_request
from ..codec.compressed_messages import CompressedMessage
from ..codec.protobuf_messages import checked_message
from ..logs import REQUEST_ID, request_id
from ..loop_calls import wait_for
from ..request_errors import RequestError, internal_error
from ..service import Service
from ..shared_memory import ALREADY_EXISTS
from .methods import decompressed

Reader = Callable[[bytes], Any]
Method = Callable[[Any, Any], Awaitable[Any]]

_STATUSES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_KINDS = {ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS}  # kinds with a status of their own
_MAX_DETAILS_BYTES = 4000  # percent-encoded; peers reject trailers of more than 8 KiB


class CallHandlers:
    """Creates the handlers of the calls of `service`, which run in threads."""

    def __init__(self, service: Service) -> None:
        self._service, self._drain = service, service.drain

    def unary(
        self,
        path: str,
        inner: Method,
        read: Reader,
        write: Callable[[Any], bytes],
        pool: ThreadPoolExecutor | None = None,
    ) -> grpc.RpcMethodHandler:
        """The handler of the method `path`, which has one request and one response and is implemented by the coroutine
        function `inner`. It runs in `pool`, by default in the server's."""

        def answer(request: Any, context: Any) -> bytes:
            return write(self._wait(inner(request, context), context))

        return self.blocking(path, answer, read, pool)

    def blocking(
        self, path: str, answer: Callable[[Any, Any], bytes], read: Reader, pool: Any = None
    ) -> grpc.RpcMethodHandler:
        """The same for a method that `answer` implements, which can block. `read` must not raise."""
        return grpc.unary_unary_rpc_method_handler(_in_pool(self.behavior(path, answer, read), pool))

    def behavior(self, path: str, answer: Callable[[Any, Any], bytes], read: Reader) -> Callable[[bytes, Any], bytes]:
        """The implementation of such a method, which gets the bytes of the request and the call's context."""

        def call(data: bytes, context: Any) -> bytes:
            began, status, model = time.perf_counter(), grpc.StatusCode.CANCELLED, ""
            request = read(data)
            REQUEST_ID.set(request_id(client_id(context) or getattr(request, "id", "")))
            try:
                with self._drain.track_request(refusable=True):
                    if type(request) is CompressedMessage:
                        request = self._wait(decompressed(self._service, request), context)
                    response = answer(checked_message(request), context)
                status = grpc.StatusCode.OK
                return response
            except Exception as raised:  # noqa: BLE001  # no traceback leaves the service
                error = raised if isinstance(raised, RequestError) else internal_error(raised, path)
                status = _KINDS.get(error.kind) or _STATUSES.get(error.status, grpc.StatusCode.INTERNAL)
                # gRPC keeps the exception of `abort`, whose traceback and context refer to the request
                model, request, data = getattr(request, "model_name", ""), None, b""
                raised.__traceback__ = raised.__context__ = None
                context.abort(status, _details(error.message))
            finally:
                model = model or getattr(request, "model_name", "")
                log_call(path, model, status, time.perf_counter() - began)
            raise AssertionError  # `abort` raises

        return call

    def stream(
        self, path: str, responses: Callable[[Iterator[bytes], Any], Iterator[bytes]], pool: ThreadPoolExecutor
    ) -> grpc.RpcMethodHandler:
        """The handler of the method `path`, which has a stream of requests and a stream of responses. It runs in
        `pool`."""

        def call(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            began, status = time.perf_counter(), grpc.StatusCode.CANCELLED
            REQUEST_ID.set(request_id(client_id(context)))
            try:
                with self._drain.track_request():
                    yield from responses(requests, context)
                status = grpc.StatusCode.OK
            except RequestError as error:
                status = _STATUSES.get(error.status, grpc.StatusCode.INTERNAL)
                error.__traceback__ = None
                context.abort(status, _details(error.message))
            finally:
                log_call(path, "", status, time.perf_counter() - began)

        return grpc.stream_stream_rpc_method_handler(_in_pool(call, pool))

    def _wait(self, coroutine: Any, context: Any) -> Any:
        return wait_for(coroutine, self._service.loop, context.add_callback)


def _in_pool(call: Any, pool: Any) -> Any:
    """`call`, marked for gRPC to run in `pool`."""
    if pool is not None:
        call.experimental_thread_pool = pool
    return call


def client_id(context: Any) -> str | bytes:
    """The request id that the client sent in the metadata of its call, "" without one."""
    return metadata_id(context.invocation_metadata())


def metadata_id(metadata: Iterable[tuple[str, str | bytes]] | None) -> str | bytes:
    """The request id in the metadata of a call, "" without one."""
    return next((value for key, value in metadata or () if key == "x-request-id"), "")


def _details(message: str) -> str:
    """`message`, cut to fit into the trailers, where each byte of a character that is not ASCII takes three."""
    if 3 * len(message.encode()) <= _MAX_DETAILS_BYTES:
        return message
    kept = message[:_MAX_DETAILS_BYTES]
    while _encoded_bytes(kept) > _MAX_DETAILS_BYTES:
        kept = kept[: len(kept) - max(1, len(kept) // 10)]
    return kept if kept == message else f"{kept} …"


def _encoded_bytes(text: str) -> int:
    """The size of `text`, percent-encoded."""
    return sum(1 if " " <= each <= "~" and each != "%" else 3 * len(each.encode()) for each in text)


def log_call(path: str, model: str, status: grpc.StatusCode, seconds: float) -> None:
    """Write the line of a call to the access log."""
    level = logging.INFO if "Infer" in path or status is not grpc.StatusCode.OK else logging.DEBUG
    log_request("gRPC", path, status.name, seconds, model[:128], level)
