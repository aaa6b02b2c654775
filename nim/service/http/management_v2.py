"""The Open Inference Protocol over HTTP, except inference: health, metadata, configuration, statistics and index.

https://github.com/triton-inference-server/server/tree/main/docs/protocol
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from ..codec import describe_validation_error, parse_json
from ..metadata import extensions, model_metadata
from ..model_versions import path_version
from ..request_errors import RequestError, input_error, unavailable
from ..served_model import ServedModel
from ..service import Service
from ..triton_config import config_document, model_config
from .body import read_small_body
from .management_schema import (
    V2_TAG,
    V2IndexRequest,
    V2Live,
    V2Model,
    V2ModelState,
    V2Ready,
    V2Server,
    V2Statistics,
    v2_errors,
)

_NOT_LOADED = v2_errors({400: "invalid version", 404: "unknown model, version or path", 503: "the model is not loaded"})
_NOT_READY = v2_errors({503: "a model is loading or has failed"})
_INDEX_ERRORS = v2_errors(
    {400: "the request is invalid", 408: "the body was not complete in time", 413: "the body is too large"}
)


def management_v2_router(service: Service) -> APIRouter:
    """The routes of the Open Inference Protocol except inference."""
    routes = APIRouter(prefix="/v2", tags=[V2_TAG])
    _add_server(routes, service)
    _add_index(routes, service)
    for path in ("/models/{name}", "/models/{name}/versions/{version}"):
        _add_model(routes, service, path)
    return routes


def _add_server(routes: APIRouter, service: Service) -> None:
    settings = service.settings
    names = sorted(("binary_tensor_data", *extensions(service.control.explicit)))

    @routes.get("")
    async def server() -> V2Server:
        """The name and version of the service, and the extensions of the protocol that it supports."""
        return V2Server(name=settings.name, version=settings.version, extensions=names)

    @routes.get("/health/live")
    async def server_live() -> V2Live:
        """Liveness: succeeds while the process responds."""
        return V2Live()

    @routes.get("/health/ready", responses=_NOT_READY)
    async def server_ready() -> V2Ready:
        """Readiness: succeeds when every model is loaded and has served a first request, until the service stops."""
        _check_ready(service.not_ready_reason())
        return V2Ready()

    @routes.get("/models/stats")
    async def all_statistics() -> V2Statistics:
        """Statistics of all models that are ready."""
        return V2Statistics(model_stats=await service.statistics(service.models.ready_models()))


def _add_index(routes: APIRouter, service: Service) -> None:
    schema = V2IndexRequest.model_json_schema()

    @routes.post(
        "/repository/index",
        responses=_INDEX_ERRORS,
        response_model_exclude_defaults=True,
        openapi_extra={"requestBody": {"required": False, "content": {"application/json": {"schema": schema}}}},
    )
    async def index(request: Request) -> list[V2ModelState]:
        """All models and their states, in the order of their names."""
        body = await read_small_body(service, request)
        try:
            options = V2IndexRequest.model_validate(parse_json(body) if body.strip() else {})
        except ValidationError as error:
            raise input_error(describe_validation_error(error)) from None
        models = [each for each in service.models.index() if each.state == "READY" or not options.ready]
        return [V2ModelState(**asdict(each)) for each in models]


def _add_model(routes: APIRouter, service: Service, path: str) -> None:
    """Add the routes of a single model under `path`, with or without a version."""
    versioned = "{version}" in path

    def target(request: Request) -> tuple[str, str | None]:
        return request.path_params["name"], path_version(request.path_params.get("version"))

    def find(request: Request) -> ServedModel:
        return service.models.find_version(*target(request))

    async def metadata(request: Request) -> dict[str, Any]:
        """The inputs and outputs of a model."""
        return model_metadata(find(request))

    async def ready(request: Request) -> Response:
        """Readiness of a model: succeeds when it is loaded and has served a first request."""
        name, version = target(request)
        try:
            model = service.models.find_version(name, version)
        except RequestError as error:
            raise _not_ready(error) from None
        _check_ready(service.model_not_ready_reason(model))
        return Response(headers={"content-type": "text/plain"})

    async def config(request: Request) -> dict[str, Any]:
        """The configuration of a model, in the JSON form of Triton's ``ModelConfig``."""
        return config_document(model_config(find(request)))

    async def statistics(request: Request) -> V2Statistics:
        """Statistics of a model."""
        return V2Statistics(model_stats=await service.statistics([service.models.find_counted(*target(request))]))

    parameters = [_path_parameter(name) for name in ("name", "version")[: 1 + versioned]]
    for suffix, endpoint, options in (
        ("", metadata, {"response_model": V2Model}),
        ("/ready", ready, {"response_class": Response}),
        ("/config", config, {}),
        ("/stats", statistics, {}),
    ):
        routes.add_api_route(
            path + suffix,
            endpoint,
            methods=["GET"],
            name=f"model_{endpoint.__name__}" + "_of_version" * versioned,
            responses=_NOT_LOADED,
            openapi_extra={"parameters": parameters},
            **options,
        )


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "title": name.title()}}


def _check_ready(not_ready_reason: str) -> None:
    if not_ready_reason:
        raise unavailable(f"not ready: {not_ready_reason}")


def _not_ready(error: RequestError) -> RequestError:
    """The error of a request for the readiness of a model that is unknown or was unloaded: Triton does not distinguish
    them."""
    return input_error(f"Model version not ready; {error.message}") if error.status in (404, 503) else error
