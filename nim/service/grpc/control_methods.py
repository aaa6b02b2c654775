"""The methods of ``inference.GRPCInferenceService`` that load and unload models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ..codec.protobuf_messages import pb
from ..control_parameters import (
    check_load_parameter,
    check_repository_name,
    check_unload_parameter,
    parse_load,
    parse_unload,
)
from ..control_request import ControlRequest
from ..model_control import ModelControl


class ControlMethods:
    """The methods for the models of `control`. Each has the request and the call's context, and raises
    RequestError."""

    def __init__(self, control: ModelControl) -> None:
        self._control = control

    def by_name(self) -> dict[str, Callable[[Any, Any], Awaitable[Any]]]:
        """The methods by their names in the protocol."""
        return {"RepositoryModelLoad": self.load, "RepositoryModelUnload": self.unload}

    async def load(self, request: Any, _: Any) -> Any:
        """Load a model, or load it again if its files have changed; succeeds once it is ready."""
        check_repository_name(request.repository_name)
        for name, parameter in request.parameters.items():
            check_load_parameter(name, parameter.WhichOneof("parameter_choice"))
        parameters = {name: parameter.string_param for name, parameter in request.parameters.items()}
        await self._perform(parse_load(request.model_name, parameters))
        return pb.RepositoryModelLoadResponse()

    async def unload(self, request: Any, _: Any) -> Any:
        """Unload a model, if it is loaded; the requests that it has accepted are finished."""
        check_repository_name(request.repository_name)
        for name, parameter in request.parameters.items():
            check_unload_parameter(name, parameter.WhichOneof("parameter_choice"))
        parameters = {name: parameter.bool_param for name, parameter in request.parameters.items()}
        await self._perform(parse_unload(request.model_name, parameters))
        return pb.RepositoryModelUnloadResponse()

    async def _perform(self, request: ControlRequest) -> None:
        outcome = await asyncio.wrap_future(self._control.perform(request))
        outcome.check()
