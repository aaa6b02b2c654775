"""Small inference calls over gRPC that are answered by the thread that receives them, as `http.direct_inference` does.

A call that cannot be answered at once is left to a thread, with what is known of it.
"""

from __future__ import annotations

import time
from typing import Any

import grpc

from ..codec.core_faults import describe_rejected
from ..codec.dispatch import is_small
from ..codec.parsed_request import ParsedRequest
from ..codec.protobuf_messages import pb
from ..codec.protobuf_tensors import encode_bytes, parse_infer_request
from ..codec.request import SMALL_BYTES
from ..logs import REQUEST_ID, request_id
from ..request_errors import RequestError
from ..scheduling import Outputs
from ..served_model import ServedModel
from ..service import Service
from .call_handlers import CallHandlers, log_call, metadata_id
from .methods import READ_INFER, CountedRequest, InferenceMethods
from .request_pool import Behavior


class DirectCalls:
    """Answers calls of the method `path`, ModelInfer, without waiting."""

    def __init__(self, service: Service, inference: InferenceMethods, handlers: CallHandlers, path: str) -> None:
        self._service, self._inference, self._handlers, self._path = service, inference, handlers, path

    def answer(self, data: bytes, metadata: Any, left_s: float | None) -> bytes | Behavior | None:
        """The serialized response to the message `data`, or what remains to be done: see `request_pool.Answer`."""
        began, service = time.perf_counter(), self._service
        if len(data) > SMALL_BYTES or service.drain.stopping:
            return None
        request = READ_INFER(data)
        if type(request) is not pb.ModelInferRequest:
            return None
        model = service.models.get(request.model_name)
        if model is None or not model.ready or request.model_version not in ("", model.version):
            return None
        try:
            parsed = parse_infer_request(model.interface, request, left_s)
        except RequestError:
            return None  # the thread reports it
        token = REQUEST_ID.set(request_id(metadata_id(metadata) or request.id))
        try:
            response = self._run(model, parsed)
            if isinstance(response, bytes):
                seconds = time.perf_counter() - began
                service.metrics.count_request(model.name, seconds, None, "grpc")
                log_call(self._path, model.name, grpc.StatusCode.OK, seconds)
            return response
        finally:
            REQUEST_ID.reset(token)

    def _run(self, model: ServedModel, request: ParsedRequest) -> bytes | Behavior | None:
        try:
            outputs = self._service.try_run(model, request)
        except RequestError as error:
            return self._raising(model, describe_rejected(error, model.interface, request))
        if outputs is None:
            return None
        if request.has_classes or not is_small(request.response_arrays(outputs).values()):
            return self._encoding(model, request, outputs)
        return encode_bytes(model.name, model.version, request, outputs)

    def _raising(self, model: ServedModel, error: RequestError) -> Behavior:
        def answer(_request: Any, _context: Any) -> bytes:
            with CountedRequest(self._service.metrics, model.name):
                raise error

        return self._handlers.behavior(self._path, answer, READ_INFER)

    def _encoding(self, model: ServedModel, request: ParsedRequest, outputs: Outputs) -> Behavior:
        def answer(_request: Any, context: Any) -> bytes:
            with CountedRequest(self._service.metrics, model.name):
                return self._inference.encode(model, request, outputs, context)

        return self._handlers.behavior(self._path, answer, READ_INFER)
