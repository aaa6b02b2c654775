"""The gRPC server: its port, limits and shutdown, and the status for each RequestError."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

# first, since it sets a variable that `grpc` reads when it is imported
from ..codec.protobuf_messages import checked_message, infer_reader, message_reader, pb  # isort: skip

import grpc
import grpc.aio

from ..admission import allowed_connections
from ..codec.compressed_messages import DECOMPRESSION_OPTION, CompressedMessage, decompressing_reader
from ..logs import ACCESS_LOG, REQUEST_ID, request_id
from ..request_errors import RequestError, internal_error
from ..service import Service
from ..settings import ServiceSettings
from ..shared_memory import ALREADY_EXISTS
from .control_methods import ControlMethods
from .methods import HEALTH, HEALTH_SERIALIZERS, INFERENCE, HealthMethods, InferenceMethods, decompressed
from .region_methods import RegionMethods
from .settings_methods import SettingsMethods

_STATUSES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_KINDS = {ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS}  # kinds with a status of their own
MAX_IDLE_MS, MAX_STREAMS = 60_000, 256
"""Milliseconds after which a connection without a call is closed, and the maximum number of concurrent calls of one
connection."""
_MAX_DETAILS_BYTES = 4000  # percent-encoded; peers reject trailers of more than 8 KiB


class GrpcServer:
    """The gRPC server of `service` on `host` and `port`. It belongs to the event loop in which `start` runs."""

    def __init__(self, service: Service, host: str, port: int) -> None:
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._service = service
        self._inference = InferenceMethods(service)
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Start to listen. Raises OSError, which names the address, if the port is unavailable."""
        server = grpc.aio.server(options=_options(self._service.settings))
        server.add_generic_rpc_handlers(_handlers(self._service, self._inference))
        try:
            server.add_insecure_port(self._address)
        except RuntimeError:
            raise OSError(
                f"cannot listen on {self._address} for gRPC: the port is in use or not permitted;"
                " choose another port with NIM_GRPC_API_PORT"
            ) from None
        await server.start()
        self._server = server

    async def stop(self, grace_s: float) -> None:
        """Refuse new requests, and answer the requests in flight within `grace_s` seconds. It can be called again."""
        if self._server is not None:
            server, self._server = self._server, None
            self._inference.end_streams()
            await server.stop(grace_s)


def _options(settings: ServiceSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        (DECOMPRESSION_OPTION, 0),
        ("grpc.max_allowed_incoming_connections", allowed_connections(settings.max_connections)),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.max_metadata_size", min(settings.max_header_bytes, 16 << 10)),
        # idle connections are closed to make room for others: clients connect again automatically
        ("grpc.server_handshake_timeout_ms", int(settings.header_timeout_s * 1000) or 1),
        ("grpc.max_connection_idle_ms", MAX_IDLE_MS),
        ("grpc.max_send_message_length", -1),
        # otherwise two services could listen on one port; the supervisor of several workers checks it before
        ("grpc.so_reuseport", int(settings.worker_processes > 1)),
        # lost clients are detected, and clients that send pings are not disconnected
        ("grpc.keepalive_time_ms", 120_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


class CallHandlers:
    """Creates handlers of calls, which add the request id, the access log, and the status of errors."""

    def __init__(self, service: Service) -> None:
        self._service, self._drain = service, service.drain

    def unary(self, method: str, inner: Callable[[Any, Any], Awaitable[Any]], serializers: Mapping[str, Any]) -> Any:
        """The handler of `method`, which has one request and one response and is implemented by `inner`."""

        async def call(request: Any, context: Any) -> Any:
            began, status, model = time.perf_counter(), grpc.StatusCode.CANCELLED, ""
            REQUEST_ID.set(request_id(_client_id(context) or getattr(request, "id", "")))
            try:
                with self._drain.track_request(refusable=True):
                    if type(request) is CompressedMessage:
                        request = await decompressed(self._service, request)
                    response = await inner(checked_message(request), context)
                status = grpc.StatusCode.OK
                return response
            except Exception as raised:  # noqa: BLE001  # no traceback leaves the service
                error = raised if isinstance(raised, RequestError) else internal_error(raised, method)
                status = _KINDS.get(error.kind) or _STATUSES.get(error.status, grpc.StatusCode.INTERNAL)
                # gRPC keeps the exception of `abort`, whose traceback and context refer to the request
                model, request = getattr(request, "model_name", ""), None
                raised.__traceback__ = raised.__context__ = None
                await context.abort(status, _details(error.message))
            finally:
                model = model or getattr(request, "model_name", "")
                _log(method, model, status, time.perf_counter() - began)

        return grpc.unary_unary_rpc_method_handler(call, **serializers)

    def stream(
        self, method: str, inner: Callable[[Any, Any], AsyncIterator[Any]], serializers: Mapping[str, Any]
    ) -> Any:
        """The handler of `method`, which has a stream of requests and a stream of responses."""

        async def call(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            began, status = time.perf_counter(), grpc.StatusCode.CANCELLED
            REQUEST_ID.set(request_id(_client_id(context)))
            try:
                with self._drain.track_request():
                    async for response in inner(requests, context):
                        yield response
                status = grpc.StatusCode.OK
            finally:
                _log(method, "", status, time.perf_counter() - began)

        return grpc.stream_stream_rpc_method_handler(call, **serializers)


def _handlers(service: Service, inference: InferenceMethods) -> list[grpc.GenericRpcHandler]:
    """The methods of the inference protocol, and of the standard health service. gRPC itself answers UNIMPLEMENTED to
    all others."""
    calls = CallHandlers(service)
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
        **RegionMethods(service.regions, service.region_changes).by_name(),
        **SettingsMethods(service.models).by_name(),
        **ControlMethods(service.control).by_name(),
    }
    methods = {name: calls.unary(f"/{INFERENCE}/{name}", inner, _serializers(name)) for name, inner in unary.items()}
    stream = "ModelStreamInfer"
    methods[stream] = calls.stream(f"/{INFERENCE}/{stream}", inference.model_stream_infer, _serializers(stream))
    check = calls.unary(f"/{HEALTH}/Check", HealthMethods(service).check, HEALTH_SERIALIZERS)
    return [
        grpc.method_handlers_generic_handler(INFERENCE, methods),
        grpc.method_handlers_generic_handler(HEALTH, {"Check": check}),
    ]


def _client_id(context: Any) -> str | bytes:
    return next((value for key, value in context.invocation_metadata() or () if key == "x-request-id"), "")


def _serializers(method: str) -> dict[str, Any]:
    # the protocol's messages are named after its methods, except for the requests of a stream
    name = method.replace("Stream", "")
    read = infer_reader() if name == "ModelInfer" else message_reader(getattr(pb, f"{name}Request"))
    write = _serialize if method == "ModelInfer" else getattr(pb, f"{method}Response").SerializeToString
    return {"request_deserializer": decompressing_reader(read), "response_serializer": write}


def _serialize(response: Any) -> bytes:
    return response if type(response) is bytes else response.SerializeToString()


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


def _log(method: str, model: str, status: grpc.StatusCode, seconds: float) -> None:
    level = logging.INFO if "Infer" in method or status is not grpc.StatusCode.OK else logging.DEBUG
    if not ACCESS_LOG.isEnabledFor(level):
        return
    fields = {"method": "gRPC", "path": method, "status": status.name, "duration_ms": round(seconds * 1e3, 3)}
    if model:
        fields["model"] = model[:128]
    ACCESS_LOG.log(level, "gRPC %s %s", method, status.name, extra={"fields": fields})
