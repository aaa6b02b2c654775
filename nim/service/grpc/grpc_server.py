"""The gRPC server: its port, limits, threads and shutdown.

It is gRPC's server with threads: its calls cost less than half of those of the server for asyncio, and a thread that
handles a request can run the model itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# first, since it sets a variable that `grpc` reads when it is imported
from ..codec.protobuf_messages import message_reader, pb  # isort: skip

import grpc

from ..admission import allowed_connections
from ..codec.compressed_messages import DECOMPRESSION_OPTION, decompressing_reader
from ..service import Service
from ..settings import ServiceSettings
from .call_handlers import CallHandlers
from .control_methods import ControlMethods
from .direct_calls import DirectCalls
from .handler_threads import HandlerThreads
from .inference_stream import MAX_OPEN_STREAMS
from .methods import HEALTH, HEALTH_FORMS, INFERENCE, READ_INFER, HealthMethods, InferenceMethods
from .region_methods import RegionMethods
from .request_pool import RequestPool
from .settings_methods import SettingsMethods

MAX_IDLE_MS, MAX_STREAMS = 60_000, 256
"""Milliseconds after which a connection without a call is closed, and the maximum number of concurrent calls of one
connection."""
_MAX_THREADS = 4096  # further calls wait for a thread
_SPARE_THREADS = 8  # for calls that a full queue refuses, and for streams beyond the limit
_PROBE_THREADS = 2


class GrpcServer:
    """The gRPC server of `service` on `host` and `port`."""

    def __init__(self, service: Service, host: str, port: int) -> None:
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._service = service
        self._inference = InferenceMethods(service)
        self._server: grpc.Server | None = None

    async def start(self) -> None:
        """Start to listen. Raises OSError, which names the address, if the port is unavailable."""
        self._threads = HandlerThreads(self._max_threads)
        self._pools = (
            ThreadPoolExecutor(_PROBE_THREADS, "gRPC probe"),
            ThreadPoolExecutor(MAX_OPEN_STREAMS + _SPARE_THREADS, "gRPC stream"),
        )
        server = grpc.server(self._threads, options=_options(self._service.settings))
        server.add_generic_rpc_handlers(_handlers(self._service, self._inference, self._threads, *self._pools))
        try:
            server.add_insecure_port(self._address)
        except RuntimeError:
            raise OSError(
                f"cannot listen on {self._address} for gRPC: the port is in use or not permitted;"
                " choose another port with NIM_GRPC_API_PORT"
            ) from None
        server.start()
        self._server = server

    async def stop(self, grace_s: float) -> None:
        """Refuse new requests, and answer the requests in flight within `grace_s` seconds. It can be called again."""
        if self._server is not None:
            server, self._server = self._server, None
            self._inference.end_streams()
            await asyncio.to_thread(server.stop(grace_s).wait)
            self._threads.close()
            for pool in self._pools:
                pool.shutdown(wait=False)

    def _max_threads(self) -> int:
        """A thread for each request that may run or wait, and more: a full queue refuses requests in a thread too, and
        a client can hold a thread with each call of a connection, by not sending the request."""
        of_model = self._service.settings.max_queued_requests + self._service.workers
        return min(of_model * len(self._service.models), _MAX_THREADS) + MAX_STREAMS + _SPARE_THREADS


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


def _handlers(
    service: Service,
    inference: InferenceMethods,
    threads: HandlerThreads,
    probes: ThreadPoolExecutor,
    streams: ThreadPoolExecutor,
) -> list[grpc.GenericRpcHandler]:
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
        **RegionMethods(service.regions, service.region_changes).by_name(),
        **SettingsMethods(service.models).by_name(),
        **ControlMethods(service.control).by_name(),
    }
    methods = {
        name: calls.unary(f"/{INFERENCE}/{name}", inner, *_forms(name), probes if name.startswith("Server") else None)
        for name, inner in unary.items()
    }
    infer, stream = "ModelInfer", "ModelStreamInfer"
    path = f"/{INFERENCE}/{infer}"
    pool = RequestPool(threads, DirectCalls(service, inference, calls, path).answer)
    methods[infer] = calls.blocking(path, inference.model_infer, READ_INFER, pool)
    methods[stream] = calls.stream(f"/{INFERENCE}/{stream}", inference.model_stream_infer, streams)
    check = calls.unary(f"/{HEALTH}/Check", HealthMethods(service).check, *HEALTH_FORMS, probes)
    return [
        grpc.method_handlers_generic_handler(INFERENCE, methods),
        grpc.method_handlers_generic_handler(HEALTH, {"Check": check}),
    ]


def _forms(method: str) -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
    """The functions that read a request of `method`, and write its response."""
    read = message_reader(getattr(pb, f"{method}Request"))
    return decompressing_reader(read), getattr(pb, f"{method}Response").SerializeToString
