"""gRPC's standard health service, which Kubernetes' gRPC probes ask. Its two messages have one field each."""

from __future__ import annotations

from typing import Any

from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from ..codec.protobuf_messages import message_reader
from ..request_errors import not_found
from ..service import Service

INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
SERVING, NOT_SERVING = 1, 2
# on the wire HealthCheckRequest {string service = 1} is StringValue, and HealthCheckResponse {enum status = 1} is
# Int32Value: so the distribution with the real messages is not needed
CODEC = {"request_deserializer": message_reader(StringValue), "response_serializer": Int32Value.SerializeToString}


class Health:
    """The methods for `service`. There is no Watch: a client that is answered UNIMPLEMENTED asks Check, or takes the
    service for healthy, as the health protocol says."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def check(self, request: Any, _: Any) -> Any:
        """SERVING when every model has answered; `request.value` names a service, "" means all."""
        if request.value not in ("", INFERENCE):
            raise not_found(f"there is no service {request.value[:128]!r}; there is {INFERENCE}")
        return Int32Value(value=NOT_SERVING if self._service.not_ready_reason() else SERVING)
