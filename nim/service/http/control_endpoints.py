"""The model control of Triton's model repository extension over HTTP: models are loaded and unloaded.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from ..codec import parse_json
from ..control_parameters import parse_load, parse_unload
from ..control_request import ControlRequest
from ..service import Service
from .body import read_small_body
from .control_schema import V2LoadRequest, V2UnloadRequest
from .inline_schema import inline_schema
from .management_schema import V2_TAG, v2_errors

_LOAD_ERRORS = v2_errors(
    {
        400: "the request is invalid, or the model cannot be loaded",
        408: "the body was not complete in time",
        413: "the body is too large",
        500: "unknown model",
        501: "the request replaces files or settings that cannot be replaced",
        503: "models are loaded at startup only, or too many requests wait",
    }
)
_UNLOAD_ERRORS = {status: error for status, error in _LOAD_ERRORS.items() if status not in (500, 501)}
_PARAMETERS = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string", "title": "Name"}}]


def control_router(service: Service) -> APIRouter:
    """The routes that load and unload models."""
    routes = APIRouter(prefix="/v2", tags=[V2_TAG])

    async def load_model(request: Request) -> Response:
        """Load a model, or load it again if its files have changed; succeeds once it is ready."""
        name = request.path_params["name"]
        return await _perform(service, parse_load(name, await _parameters(service, request)))

    async def unload_model(request: Request) -> Response:
        """Unload a model, if it is loaded; the requests that it has accepted are finished."""
        name = request.path_params["name"]
        return await _perform(service, parse_unload(name, await _parameters(service, request)))

    for action, endpoint, schema, errors in (
        ("load", load_model, V2LoadRequest, _LOAD_ERRORS),
        ("unload", unload_model, V2UnloadRequest, _UNLOAD_ERRORS),
    ):
        content = {"application/json": {"schema": inline_schema(schema)}}
        routes.add_api_route(
            f"/repository/models/{{name}}/{action}",
            endpoint,
            methods=["POST"],
            response_class=Response,
            responses=errors,
            openapi_extra={"parameters": _PARAMETERS, "requestBody": {"required": False, "content": content}},
        )
    return routes


async def _parameters(service: Service, request: Request) -> Any:
    """The JSON value of the member `parameters`; None if there is none."""
    body = await read_small_body(service, request)
    document = parse_json(body) if body else None
    return document.get("parameters") if isinstance(document, dict) else None


async def _perform(service: Service, request: ControlRequest) -> Response:
    outcome = await asyncio.wrap_future(service.control.perform(request))
    outcome.check()
    return Response(media_type="application/json")
