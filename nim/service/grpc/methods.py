"""The methods of ``inference.GRPCInferenceService``, the Open Inference Protocol over gRPC as Triton implements it, and
of gRPC's standard health service, which Kubernetes' gRPC probes call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from ..codec.compressed_messages import CompressedMessage, decompressing_reader
from ..codec.core_faults import describe_rejected
from ..codec.dispatch import is_small
from ..codec.parsed_request import ParsedRequest
from ..codec.protobuf_messages import LargeRequest, checked_message, infer_reader, message_reader, pb
from ..codec.protobuf_tensors import encode_bytes, parse_infer_request
from ..loop_calls import wait_for
from ..metadata import extensions, model_metadata
from ..metrics import Metrics
from ..model_versions import version_number
from ..request_errors import (
    RequestError,
    internal_error,
    memory_exhausted,
    not_found,
    not_supported,
    request_cancelled,
    unavailable,
)
from ..scheduling import Outputs
from ..served_model import ServedModel
from ..service import Service
from ..triton_config import model_config
from .inference_stream import MAX_OPEN_STREAMS, InferenceStream
from .request_pool import MAX_LEFT_S

INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
SERVING, NOT_SERVING = 1, 2
# the messages of the health service have one field each. In protobuf's encoding, HealthCheckRequest
# {string service = 1} equals StringValue, and HealthCheckResponse {enum status = 1} equals Int32Value: the distribution
# with the real messages is not needed
HEALTH_FORMS = (decompressing_reader(message_reader(StringValue)), Int32Value.SerializeToString)
"""The functions that read a request of the health service, and write its response."""
READ_INFER = decompressing_reader(infer_reader())
"""Reads a request of ModelInfer or ModelStreamInfer."""


class InferenceMethods:
    """The methods of the inference protocol for `service`. Each has the request and the call's context, and raises
    RequestError."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._streams: set[InferenceStream] = set()

    def end_streams(self) -> None:
        """Read no more requests from streams, which clients can keep open. A stream ends after the responses to the
        requests that were read."""
        for stream in list(self._streams):
            stream.end()

    async def server_live(self, request: Any, _: Any) -> Any:
        """Liveness: succeeds while the process responds."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, request: Any, _: Any) -> Any:
        """Readiness: whether every model has answered its warm-up request."""
        return pb.ServerReadyResponse(ready=not self._service.not_ready_reason())

    async def model_ready(self, request: Any, _: Any) -> Any:
        """Whether the model has answered its warm-up request; an unknown model is not ready, as with Triton."""
        model = self._service.models.get(request.name)
        version = version_number(request.version) if request.version else ""
        known = model is not None and version in ("", model.version)
        return pb.ModelReadyResponse(
            ready=known and model is not None and not self._service.model_not_ready_reason(model)
        )

    async def server_metadata(self, request: Any, _: Any) -> Any:
        """The service's name and version."""
        settings, names = self._service.settings, extensions(self._service.control.explicit)
        return pb.ServerMetadataResponse(name=settings.name, version=settings.version, extensions=names)

    async def model_metadata(self, request: Any, _: Any) -> Any:
        """The inputs and outputs of a model."""
        return pb.ModelMetadataResponse(**model_metadata(self._find(request.name, request.version)))

    async def model_config(self, request: Any, _: Any) -> Any:
        """The configuration of a model."""
        return pb.ModelConfigResponse(config=model_config(self._find(request.name, request.version)))

    async def model_statistics(self, request: Any, _: Any) -> Any:
        """The statistics of one model, or of all models that are ready."""
        all_models = self._service.models
        find, version = all_models.find_counted, request.version or None
        models = [find(request.name, version)] if request.name or version else all_models.ready_models()
        statistics = await self._service.statistics(models)
        return _from_json({"model_stats": statistics}, pb.ModelStatisticsResponse())

    async def repository_index(self, request: Any, _: Any) -> Any:
        """All models and their states, in the order of their names."""
        if request.repository_name:
            raise not_supported("'repository_name' specification is not supported")
        index = pb.RepositoryIndexResponse()
        for each in self._service.models.index():
            if each.state == "READY" or not request.ready:
                index.models.add(name=each.name, version=each.version, state=each.state, reason=each.reason)
        return index

    def model_infer(self, request: Any, context: Any) -> bytes:
        """Run a model on the tensors of the request, a message of `READ_INFER`. Returns the serialized response; the
        calling thread waits for it."""
        left_s = time_left_s(context)
        if type(request) is LargeRequest:
            response = self._counted(request, left_s, serialized=True)
            return _serialized(wait_for(response, self._service.loop, context.add_callback))
        model = self._find(request.model_name, request.model_version)
        with CountedRequest(self._service.metrics, model.name):
            parsed = parse_infer_request(model.interface, request, left_s)
            try:
                outputs = self._service.run_blocking(model, parsed, context.add_callback)
            except RequestError as error:
                raise describe_rejected(error, model.interface, parsed) from None
            if not context.is_active():
                raise request_cancelled()
            if not parsed.has_classes and is_small(parsed.response_arrays(outputs).values()):
                return encode_bytes(model.name, model.version, parsed, outputs)
            return self.encode(model, parsed, outputs, context)

    def encode(self, model: ServedModel, request: ParsedRequest, outputs: Outputs, context: Any) -> bytes:
        """The serialized response of any size and form; the calling thread waits for it."""
        response = self._encode(model, request, outputs, serialized=True)
        return _serialized(wait_for(response, self._service.loop, context.add_callback))

    def model_stream_infer(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Run a model on each request of a stream, several concurrently, and yield the serialized responses in the
        order of the requests. An error is the response to its request, and the stream continues."""

        def submit(data: bytes) -> Future[bytes]:
            answer = self._stream_response(READ_INFER(data), time_left_s(context))
            return asyncio.run_coroutine_threadsafe(answer, self._service.loop)

        if len(self._streams) >= MAX_OPEN_STREAMS:
            raise unavailable(f"the service has {MAX_OPEN_STREAMS} open streams, its limit; retry later")
        stream = InferenceStream(requests, submit)
        self._streams.add(stream)
        try:
            if context.add_callback(stream.cancel):
                yield from stream.responses()
        finally:
            self._streams.discard(stream)

    async def _stream_response(self, request: Any, timeout_s: float | None) -> bytes:
        return _serialized(await self._stream_message(request, timeout_s))

    async def _stream_message(self, request: Any, timeout_s: float | None) -> Any:
        try:
            if type(request) is CompressedMessage:
                request = await decompressed(self._service, request)
            response = await self._counted(checked_message(request), timeout_s)
        except RequestError as error:
            error.__traceback__ = None  # it refers to a frame that refers to the error, and to the request
            failed = pb.ModelStreamInferResponse(error_message=error.message)
            failed.infer_response.id = getattr(request, "id", "")  # shows the client which request failed
            return failed
        except Exception as error:  # noqa: BLE001  # a bug in one request does not end the stream
            return pb.ModelStreamInferResponse(error_message=internal_error(error, "a request of a stream").message)
        response.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=response)

    async def _counted(self, request: Any, timeout_s: float | None, *, serialized: bool = False) -> Any:
        """The response to `request`, a ModelInferRequest or LargeRequest; `serialized` allows the bytes of a response.
        The request is counted in the metrics."""
        model = self._find(request.model_name, request.model_version)
        with CountedRequest(self._service.metrics, model.name):
            if type(request) is not LargeRequest:
                return await self._infer(model, request, timeout_s, serialized)
            with self._service.budget.share() as share:
                if not share.reserve(request.size):
                    raise memory_exhausted()
                return await self._infer(model, request, timeout_s, serialized)

    def _find(self, name: str, version: str) -> ServedModel:
        return self._service.models.find_version(name, version or None)

    async def _infer(self, model: ServedModel, message: Any, timeout_s: float | None, serialized: bool) -> Any:
        request = await self._service.codec.decode_grpc(model.interface, message, timeout_s)
        try:
            outputs = await self._service.run(model, request)
        except RequestError as error:
            raise describe_rejected(error, model.interface, request) from None
        return await self._encode(model, request, outputs, serialized=serialized)

    async def _encode(self, model: ServedModel, request: ParsedRequest, outputs: Outputs, *, serialized: bool) -> Any:
        codec = self._service.codec
        if request.has_classes:
            request, outputs = await codec.classify(
                request, outputs, batches=model.interface.max_batch_size > 0, labels=model.labels
            )
        return await codec.encode_grpc(model.name, model.version, request, outputs, serialized=serialized)


class CountedRequest:
    """The context of an inference request to the model `name`, which is counted in `metrics`, with its error if it
    fails."""

    __slots__ = ("_began", "_metrics", "_name")

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._metrics, self._name = metrics, name

    def __enter__(self) -> None:
        self._began = time.perf_counter()
        self._metrics.active.inc()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        metrics, failure = self._metrics, None
        metrics.active.dec()
        if isinstance(error, RequestError):
            error.insert_model_name(self._name)
            failure = error
        elif isinstance(error, asyncio.CancelledError):
            failure = request_cancelled()
        metrics.count_request(self._name, time.perf_counter() - self._began, failure, "grpc")


class HealthMethods:
    """The methods of the health service. Watch is missing: a client that gets UNIMPLEMENTED calls Check instead, or
    regards the service as healthy, as the health protocol defines."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def check(self, request: Any, _: Any) -> Any:
        """SERVING when every model has answered; `request.value` names a gRPC service, "" stands for all."""
        if request.value not in ("", INFERENCE):
            raise not_found(f"unknown service {request.value[:128]!r}; the service is {INFERENCE}")
        return Int32Value(value=NOT_SERVING if self._service.not_ready_reason() else SERVING)


async def decompressed(service: Service, message: CompressedMessage) -> Any:
    """The result of the deserializer of `message` for its content, within the limits of a request. Raises
    RequestError."""
    with service.budget.share() as share:
        return await service.codec.decompress_grpc(message, share)


def _serialized(response: Any) -> bytes:
    return response if type(response) is bytes else response.SerializeToString()


def time_left_s(context: Any) -> float | None:
    """Seconds until the deadline of a call; None if it has no deadline."""
    left_s: float = context.time_remaining()
    return left_s if left_s < MAX_LEFT_S else None


def _from_json(document: dict[str, Any], message: Any) -> Any:
    from google.protobuf.json_format import ParseDict  # slow to import, and rarely needed

    return ParseDict(document, message)
