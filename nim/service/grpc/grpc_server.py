"""The gRPC server: its port, its limits, how it stops, and how a RequestError becomes a status."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

# the core writes lines of its own form to stderr, which a reader of JSON lines cannot read
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc.aio

from .. import unsupported
from ..admission import allowed_connections
from ..codec.protobuf_messages import checked_message, infer_reader, message_reader, pb
from ..drain import Drain
from ..logs import REQUEST_ID, request_id
from ..request_errors import RequestError
from ..service import Service
from ..settings import ServiceSettings
from .health import CODEC as HEALTH_CODEC
from .health import HEALTH, INFERENCE, Health
from .methods import Inference

_LOG = logging.getLogger(__name__)
_ACCESS = logging.getLogger("portalis.access")
_STATUSES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
IDLE_MS, MAX_STREAMS = 60_000, 256
"""After which time a connection without a call is closed, and the calls of one connection at a time."""
_DETAILS_BYTES = 4000  # percent-encoded; peers refuse trailers of more than 8 KiB


class GrpcServer:
    """The gRPC service of `service` on `host` and `port`. It belongs to the event loop that `start` runs in."""

    def __init__(self, service: Service, host: str, port: int) -> None:
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._service = service
        self._inference = Inference(service)
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises OSError, which names the address, when it cannot."""
        server = grpc.aio.server(options=_options(self._service.settings))
        server.add_generic_rpc_handlers(_handlers(self._service, self._inference))
        try:
            server.add_insecure_port(self._address)
        except RuntimeError:
            raise OSError(
                f"cannot listen on {self._address} for gRPC: the port is taken or not ours to use;"
                " choose another with NIM_GRPC_API_PORT"
            ) from None
        await server.start()
        self._server = server

    async def stop(self, grace_s: float) -> None:
        """Take no new requests, and answer those that are there within `grace_s` seconds. It may be called again."""
        if self._server is not None:
            server, self._server = self._server, None
            self._inference.end_streams()
            await server.stop(grace_s)


def _options(settings: ServiceSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        ("grpc.max_allowed_incoming_connections", allowed_connections(settings.max_connections)),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.max_metadata_size", min(settings.max_header_bytes, 16 << 10)),
        # a connection on which nothing is asked gives its place back: clients connect again by themselves
        ("grpc.server_handshake_timeout_ms", int(settings.header_timeout_s * 1000) or 1),
        ("grpc.max_connection_idle_ms", IDLE_MS),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # else two services could listen on one port
        # clients that are gone are found, and those that ask whether the server is there are not sent away
        ("grpc.keepalive_time_ms", 120_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


class Calls:
    """What is done around each call: its id, its line in the log, and the status of what it raises."""

    def __init__(self, drain: Drain) -> None:
        self._drain = drain

    def unary(self, method: str, inner: Callable[[Any, Any], Awaitable[Any]], codec: Mapping[str, Any]) -> Any:
        """The handler of a `method` with one request and one response, done by `inner`."""

        async def call(request: Any, context: Any) -> Any:
            began, status = time.perf_counter(), grpc.StatusCode.CANCELLED
            REQUEST_ID.set(request_id(_given_id(context) or getattr(request, "id", "")))
            try:
                with self._drain.track_request(refusable=True):
                    answer = await inner(checked_message(request), context)
                status = grpc.StatusCode.OK
                return answer
            except RequestError as problem:
                status = _STATUSES.get(problem.status, grpc.StatusCode.INTERNAL)
                await context.abort(status, _details(problem.message))
            except Exception:  # noqa: BLE001  # no traceback leaves the service
                status = grpc.StatusCode.INTERNAL
                _LOG.exception("a request failed in the service itself")
                await context.abort(status, "the service failed; its log says how")
            finally:
                _log(method, getattr(request, "model_name", ""), status, time.perf_counter() - began)

        return grpc.unary_unary_rpc_method_handler(call, **codec)

    def stream(self, method: str, inner: Callable[[Any, Any], AsyncIterator[Any]], codec: Mapping[str, Any]) -> Any:
        """The handler of a `method` with a stream of requests and one of responses."""

        async def call(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            began, status = time.perf_counter(), grpc.StatusCode.CANCELLED
            REQUEST_ID.set(request_id(_given_id(context)))
            try:
                with self._drain.track_request():
                    async for answer in inner(requests, context):
                        yield answer
                status = grpc.StatusCode.OK
            finally:
                _log(method, "", status, time.perf_counter() - began)

        return grpc.stream_stream_rpc_method_handler(call, **codec)


def _handlers(service: Service, inference: Inference) -> list[grpc.GenericRpcHandler]:
    """The inference protocol's methods, those that are refused included, and the standard health service. gRPC itself
    answers UNIMPLEMENTED to all others."""
    calls = Calls(service.drain)
    unary = {
        "ServerLive": inference.server_live,
        "ServerReady": inference.server_ready,
        "ModelReady": inference.model_ready,
        "ServerMetadata": inference.server_metadata,
        "ModelMetadata": inference.model_metadata,
        "ModelConfig": inference.model_config,
        "ModelStatistics": inference.model_statistics,
        "RepositoryIndex": inference.repository_index,
        "ModelInfer": inference.model_infer,
        **{name: unsupported.refuse_method(text) for name, text in unsupported.UNSUPPORTED_METHODS.items()},
    }
    methods = {name: calls.unary(f"/{INFERENCE}/{name}", inner, _codec(name)) for name, inner in unary.items()}
    stream = "ModelStreamInfer"
    methods[stream] = calls.stream(f"/{INFERENCE}/{stream}", inference.model_stream_infer, _codec(stream))
    health = Health(service)
    check = {"Check": calls.unary(f"/{HEALTH}/Check", health.check, HEALTH_CODEC)}
    return [
        grpc.method_handlers_generic_handler(INFERENCE, methods),
        grpc.method_handlers_generic_handler(HEALTH, check),
    ]


def _given_id(context: Any) -> str | bytes:
    return next((value for key, value in context.invocation_metadata() or () if key == "x-request-id"), "")


def _codec(method: str) -> dict[str, Any]:
    # the protocol names its messages after the methods, but for those of a stream
    asked = method.replace("Stream", "")
    return {
        "request_deserializer": infer_reader()
        if asked == "ModelInfer"
        else message_reader(getattr(pb, f"{asked}Request")),
        "response_serializer": _sent if method == "ModelInfer" else getattr(pb, f"{method}Response").SerializeToString,
    }


def _sent(response: Any) -> bytes:
    return response if type(response) is bytes else response.SerializeToString()


def _details(message: str) -> str:
    """`message`, cut to what fits into the trailers, where each byte that is not ASCII takes three."""
    if 3 * len(message.encode()) <= _DETAILS_BYTES:
        return message
    kept = message[:_DETAILS_BYTES]
    while sum(1 if " " <= each <= "~" and each != "%" else 3 * len(each.encode()) for each in kept) > _DETAILS_BYTES:
        kept = kept[: len(kept) - max(1, len(kept) // 10)]
    return kept if kept == message else f"{kept} …"


def _log(method: str, model: str, status: grpc.StatusCode, seconds: float) -> None:
    level = logging.INFO if "Infer" in method or status is not grpc.StatusCode.OK else logging.DEBUG
    if not _ACCESS.isEnabledFor(level):
        return
    fields = {"method": "gRPC", "path": method, "status": status.name, "duration_ms": round(seconds * 1e3, 3)}
    if model:
        fields["model"] = model[:128]
    _ACCESS.log(level, "gRPC %s %s", method, status.name, extra={"fields": fields})
