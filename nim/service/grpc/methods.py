"""The methods of ``inference.GRPCInferenceService``: the Open Inference Protocol over gRPC, as Triton has it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from ..codec.protobuf_messages import LargeRequest, checked_message, pb
from ..metadata import model_config, model_metadata
from ..models import ServedModel
from ..request_errors import RequestError, memory_exhausted
from ..service import Service

EXTENSIONS = ("model_configuration", "statistics", "model_repository")
IN_STREAM = 64  # requests of one stream that are worked on together
_LOG = logging.getLogger(__name__)


class Inference:
    """The methods for `service`, each with the message it is given and the call's context. They raise RequestError."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._readers: set[asyncio.Task[None]] = set()

    def end_streams(self) -> None:
        """Read no more requests from streams, which end when those read are answered: a client may keep one open."""
        for reader in self._readers:
            reader.cancel()

    async def server_live(self, request: Any, _: Any) -> Any:
        """The process answers."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, request: Any, _: Any) -> Any:
        """Whether every model has answered a request."""
        return pb.ServerReadyResponse(ready=not self._service.not_ready_reason())

    async def model_ready(self, request: Any, _: Any) -> Any:
        """Whether the model has answered a request; one that is not there is not ready, as with Triton."""
        model = self._service.models.get(request.name)
        known = model is not None and request.version in ("", model.settings.version)
        return pb.ModelReadyResponse(ready=known and model is not None and model.ready)

    async def server_metadata(self, request: Any, _: Any) -> Any:
        """The service's name and version."""
        settings = self._service.settings
        return pb.ServerMetadataResponse(name=settings.name, version=settings.version, extensions=EXTENSIONS)

    async def model_metadata(self, request: Any, _: Any) -> Any:
        """The inputs and outputs of a model."""
        return pb.ModelMetadataResponse(**model_metadata(self._find(request.name, request.version)))

    async def model_config(self, request: Any, _: Any) -> Any:
        """A model's configuration."""
        config = model_config(self._find(request.name, request.version))
        return _parsed({"config": config}, pb.ModelConfigResponse())

    async def model_statistics(self, request: Any, _: Any) -> Any:
        """What one model has done, or all models that are loaded."""
        models = [self._find(request.name, request.version)] if request.name else self._service.models.values()
        told = [
            model.scheduler.statistics.to_json(model.name, model.settings.version)
            for model in models
            if request.name or model.ready
        ]
        return _parsed({"model_stats": told}, pb.ModelStatisticsResponse())

    async def repository_index(self, request: Any, _: Any) -> Any:
        """All models and their states."""
        answer = pb.RepositoryIndexResponse()
        for model in self._service.models.values():
            if request.ready and not model.ready:
                continue
            state = "READY" if model.ready else "UNAVAILABLE" if model.failure else "LOADING"
            answer.models.add(name=model.name, version=model.settings.version, state=state, reason=model.failure)
        return answer

    async def model_infer(self, request: Any, context: Any) -> Any:
        """Run a model on the tensors of the request."""
        return await self._counted(request, context.time_remaining(), serialized=True)

    async def model_stream_infer(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Run a model on each request of a stream, several at a time; the answers come in the requests' order. An error
        is the answer of its request, and the stream goes on."""
        answers: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue(IN_STREAM)
        begun: set[asyncio.Task[Any]] = set()

        async def read() -> None:
            try:
                async for request in requests:
                    task = asyncio.create_task(self._streamed(request, context.time_remaining()))
                    begun.add(task)
                    task.add_done_callback(begun.discard)
                    await answers.put(task)
            finally:
                await answers.put(None)

        reader = asyncio.create_task(read())
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        try:
            while (task := await answers.get()) is not None:
                yield await task
        finally:
            for unfinished in (reader, *begun):
                unfinished.cancel()

    async def _streamed(self, request: Any, timeout_s: float | None) -> Any:
        try:
            answer = await self._counted(checked_message(request), timeout_s)
        except RequestError as problem:
            told = pb.ModelStreamInferResponse(error_message=problem.message)
            told.infer_response.id = getattr(request, "id", "")  # else nobody could tell whose error it is
            return told
        except Exception:  # noqa: BLE001  # one request's failure is not the stream's
            _LOG.exception("a request of a stream failed in the service itself")
            return pb.ModelStreamInferResponse(error_message="the service failed; its log says how")
        answer.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=answer)

    async def _counted(self, request: Any, timeout_s: float | None, *, serialized: bool = False) -> Any:
        """The response to `request`, a ModelInferRequest or LargeRequest; `serialized` allows the bytes of a
        response."""
        model = self._find(request.model_name, request.model_version)
        metrics = self._service.metrics
        began, error = time.perf_counter(), None
        try:
            with metrics.active.track_inprogress():
                if type(request) is not LargeRequest:
                    return await self._infer(model, request, timeout_s, serialized)
                with self._service.budget.share() as share:
                    if not share.take(request.size):
                        raise memory_exhausted()
                    return await self._infer(model, request, timeout_s, serialized)
        except RequestError as raised:
            error = raised
            raise
        except asyncio.CancelledError:
            error = RequestError(499, "Cancelled", "the client gave the request up")
            raise
        finally:
            metrics.count_request(model.name, time.perf_counter() - began, error, "grpc")

    def _find(self, name: str, version: str) -> ServedModel:
        return self._service.models.find_version(name, version or None)

    async def _infer(self, model: ServedModel, message: Any, timeout_s: float | None, serialized: bool) -> Any:
        interface, codec = model.program.interface, self._service.codec
        request = await codec.decode_grpc(interface, message, timeout_s)
        outputs = await model.scheduler.run(
            request.inputs, timeout_s=request.timeout_s, guest_timeout_s=request.guest_timeout_s
        )
        return await codec.encode_grpc(model.name, model.settings.version, request, outputs, serialized=serialized)


def _parsed(told: dict[str, Any], message: Any) -> Any:
    from google.protobuf.json_format import ParseDict  # takes long to import, and is rarely needed

    return ParseDict(told, message)
