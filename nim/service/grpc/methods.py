"""The methods of ``inference.GRPCInferenceService``, the Open Inference Protocol over gRPC as Triton implements it, and
of gRPC's standard health service, which Kubernetes' gRPC probes call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from ..codec.compressed_messages import CompressedMessage, decompressing_reader
from ..codec.core_faults import describe_rejected
from ..codec.protobuf_messages import LargeRequest, checked_message, message_reader, pb
from ..metadata import extensions, model_metadata
from ..model_versions import version_number
from ..request_errors import RequestError, internal_error, memory_exhausted, not_found, not_supported, request_cancelled
from ..served_model import ServedModel
from ..service import Service
from ..triton_config import model_config

INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
SERVING, NOT_SERVING = 1, 2
# the messages of the health service have one field each. In protobuf's encoding, HealthCheckRequest
# {string service = 1} equals StringValue, and HealthCheckResponse {enum status = 1} equals Int32Value: the distribution
# with the real messages is not needed
HEALTH_SERIALIZERS = {
    "request_deserializer": decompressing_reader(message_reader(StringValue)),
    "response_serializer": Int32Value.SerializeToString,
}
MAX_IN_STREAM = 64
"""Maximum number of requests of one stream in flight."""


class InferenceMethods:
    """The methods of the inference protocol for `service`. Each has the request and the call's context, and raises
    RequestError."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._readers: set[asyncio.Task[None]] = set()

    def end_streams(self) -> None:
        """Read no more requests from streams, which clients can keep open. A stream ends after the responses to the
        requests that were read."""
        for reader in self._readers:
            reader.cancel()

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

    async def model_infer(self, request: Any, context: Any) -> Any:
        """Run a model on the tensors of the request."""
        return await self._counted(request, context.time_remaining(), serialized=True)

    async def model_stream_infer(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Run a model on each request of a stream, several concurrently, and yield the responses in the order of the
        requests. An error is the response to its request, and the stream continues."""
        responses: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue(MAX_IN_STREAM)
        running: set[asyncio.Task[Any]] = set()

        async def read() -> None:
            try:
                async for request in requests:
                    task = asyncio.create_task(self._stream_response(request, context.time_remaining()))
                    running.add(task)
                    task.add_done_callback(running.discard)
                    await responses.put(task)
            finally:
                await responses.put(None)

        reader = asyncio.create_task(read())
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        try:
            while (task := await responses.get()) is not None:
                yield await task
        finally:
            for unfinished in (reader, *running):
                unfinished.cancel()

    async def _stream_response(self, request: Any, timeout_s: float | None) -> Any:
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
        metrics = self._service.metrics
        began, error = time.perf_counter(), None
        try:
            with metrics.active.track_inprogress():
                if type(request) is not LargeRequest:
                    return await self._infer(model, request, timeout_s, serialized)
                with self._service.budget.share() as share:
                    if not share.reserve(request.size):
                        raise memory_exhausted()
                    return await self._infer(model, request, timeout_s, serialized)
        except RequestError as raised:
            raised.insert_model_name(model.name)
            error = raised
            raise
        except asyncio.CancelledError:
            error = request_cancelled()
            raise
        finally:
            metrics.count_request(model.name, time.perf_counter() - began, error, "grpc")

    def _find(self, name: str, version: str) -> ServedModel:
        return self._service.models.find_version(name, version or None)

    async def _infer(self, model: ServedModel, message: Any, timeout_s: float | None, serialized: bool) -> Any:
        codec = self._service.codec
        request = await codec.decode_grpc(model.interface, message, timeout_s)
        try:
            outputs = await self._service.run(model, request)
        except RequestError as error:
            raise describe_rejected(error, model.interface, request) from None
        if request.has_classes:
            request, outputs = await codec.classify(
                request, outputs, batches=model.interface.max_batch_size > 0, labels=model.labels
            )
        return await codec.encode_grpc(model.name, model.version, request, outputs, serialized=serialized)


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


def _from_json(document: dict[str, Any], message: Any) -> Any:
    from google.protobuf.json_format import ParseDict  # slow to import, and rarely needed

    return ParseDict(document, message)
