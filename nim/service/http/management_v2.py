"""The Open Inference Protocol over HTTP, but for inference itself: health, metadata, configuration, statistics, index.

https://github.com/triton-inference-server/server/tree/main/docs/protocol
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from ..codec.inference_schema import V2Error
from ..codec.json_codec import parse
from ..codec.validation import misfits
from ..metadata import model_config, model_metadata
from ..models import ServedModel
from ..request_errors import input_error, unavailable
from ..service import Service
from . import body as bodies
from .schema_v2 import V2IndexRequest, V2Model, V2ModelState, V2Server, V2Statistics

EXTENSIONS = ["binary_tensor_data", "model_configuration", "model_repository", "statistics"]
MAX_INDEX_BYTES = 1 << 16  # a filter is all that the request may hold
TAG = "open inference protocol"
Responses = dict[int | str, dict[str, Any]]


def errors(texts: dict[int, str]) -> Responses:
    """What errors under /v2 are like, for the API's description."""
    return {code: {"model": V2Error, "description": text} for code, text in texts.items()}


NO_PATH = {404: "there is no such path"}
_NO_MODEL = {400: "there is no such model or version", **NO_PATH}
_NOT_LOADED = {**_NO_MODEL, 503: "the model is not loaded"}


def router(service: Service) -> APIRouter:
    """The routes of `service`."""
    routes = APIRouter(prefix="/v2", tags=[TAG])
    _server(routes, service)
    _index(routes, service)
    for path in ("/models/{name}", "/models/{name}/versions/{version}"):
        _model(routes, service, path)
    return routes


def _server(routes: APIRouter, service: Service) -> None:
    settings = service.settings

    @routes.get("")
    async def server() -> V2Server:
        """The service's name and version, and the extensions of the protocol that it has."""
        return V2Server(name=settings.name, version=settings.version, extensions=EXTENSIONS)

    @routes.get("/health/live", response_class=Response)
    async def server_live() -> Response:
        """The process answers."""
        return Response()

    @routes.get("/health/ready", response_class=Response, responses=errors({503: "a model is loading or has failed"}))
    async def server_ready() -> Response:
        """Every model is loaded and has answered a request, and the service is not about to stop."""
        return _ready(service.not_ready_reason())

    @routes.get("/models/stats")
    async def all_statistics() -> V2Statistics:
        """What the models that are loaded have done."""
        return V2Statistics(model_stats=[_statistics(each) for each in service.models.values() if each.ready])


def _index(routes: APIRouter, service: Service) -> None:
    settings = service.settings
    schema = V2IndexRequest.model_json_schema()
    refused = {400: "the request is not understood", 408: "its body did not come", 413: "it is too large"}

    @routes.post(
        "/repository/index",
        responses=errors(refused),
        openapi_extra={"requestBody": {"required": False, "content": {"application/json": {"schema": schema}}}},
    )
    async def index(request: Request) -> list[V2ModelState]:
        """All models and their states."""
        most, timeout_s = min(settings.max_request_bytes, MAX_INDEX_BYTES), settings.body_timeout_s
        given = dict(request.scope["headers"])
        with service.budget.share() as share:
            body = await bodies.read(request.receive, given, share, most=most, timeout_s=timeout_s)
        try:
            wanted = V2IndexRequest.model_validate(parse(body) if body.strip() else {})
        except ValidationError as problem:
            raise input_error(misfits(problem)) from None
        return [_state(model) for model in service.models.values() if model.ready or not wanted.ready]


def _state(model: ServedModel) -> V2ModelState:
    return V2ModelState(
        name=model.name,
        version=model.settings.version,
        state="READY" if model.ready else "UNAVAILABLE" if model.failure else "LOADING",
        reason=model.failure,
    )


def _model(routes: APIRouter, service: Service, path: str) -> None:
    """The routes of one model, with its version in the path and without."""
    versioned = "{version}" in path

    def find(request: Request) -> ServedModel:
        given = request.path_params
        return service.models.find_v2(given["name"], given.get("version"))

    async def metadata(request: Request) -> dict[str, Any]:
        """The inputs and outputs of a model."""
        return model_metadata(find(request))

    async def ready(request: Request) -> Response:
        """The model is loaded and has answered a request."""
        return _ready(find(request).not_ready_reason())

    async def config(request: Request) -> dict[str, Any]:
        """The model's configuration, in the JSON form of Triton's ``ModelConfig``."""
        return model_config(find(request))

    async def statistics(request: Request) -> V2Statistics:
        """What the model has done."""
        return V2Statistics(model_stats=[_statistics(find(request))])

    parameters = [_parameter(name) for name in ("name", "version")[: 1 + versioned]]
    for tail, endpoint, options in (
        ("", metadata, {"response_model": V2Model}),
        ("/ready", ready, {"response_class": Response}),
        ("/config", config, {}),
        ("/stats", statistics, {}),
    ):
        routes.add_api_route(
            path + tail,
            endpoint,
            methods=["GET"],
            name=f"model_{endpoint.__name__}" + "_of_version" * versioned,
            responses=errors(_NOT_LOADED),
            openapi_extra={"parameters": parameters},
            **options,
        )


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "title": name.title()}}


def _ready(state: str) -> Response:
    if state:
        raise unavailable(f"not ready: {state}")
    return Response()


def _statistics(model: ServedModel) -> dict[str, Any]:
    return model.scheduler.statistics.to_json(model.name, model.settings.version)
