"""What the service tells of itself: health, models, versions, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from .problems import Problem
from .runtime import TensorSpec
from .schema import ErrorEnvelope, Health, Metadata, ModelCard, ModelList, ModelMetadata, Version

if TYPE_CHECKING:
    from .app import Service
    from .models import Model

API_VERSION = "1.0.0"


def router(service: Service) -> APIRouter:
    """The routes of `service`."""
    routes = APIRouter()
    _health(routes, service)
    _descriptions(routes, service)

    @routes.get("/v1/metrics", response_class=Response, tags=["metrics"])
    @routes.get("/metrics", response_class=Response, tags=["metrics"])
    async def metrics() -> Response:
        """All metrics, in Prometheus' text format."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return routes


def _health(routes: APIRouter, service: Service) -> None:
    async def live() -> Health:
        """The process answers."""
        return Health(message="Service is live.")

    async def ready() -> Health:
        """Every model is loaded and has answered a request."""
        state = service.models.state()
        if state:
            raise Problem(503, "ServiceUnavailableError", f"Service is not ready: {state}")
        return Health(message="Service is ready.")

    lives, readies = ["/v1/health/live", "/health"], ["/v1/health/ready", "/ready"]
    if service.settings.health_check_endpoint not in (*lives, *readies):
        lives.append(service.settings.health_check_endpoint)
    for path in lives:
        routes.add_api_route(path, live, methods=["GET"], tags=["health"])
    for path in readies:
        routes.add_api_route(path, ready, methods=["GET"], tags=["health"], responses={503: {"model": ErrorEnvelope}})


def _descriptions(routes: APIRouter, service: Service) -> None:
    settings = service.settings

    @routes.get("/v1/models", tags=["models"])
    async def models() -> ModelList:
        """The models, as in OpenAI's API."""
        return ModelList(data=[ModelCard(id=name, created=each.loaded_at) for name, each in service.models.items()])

    @routes.get("/v1/metadata", tags=["models"], responses={503: {"model": ErrorEnvelope}})
    async def metadata() -> Metadata:
        """The service and the interface of each model. 503 until all are loaded."""
        return Metadata(
            name=settings.name,
            version=settings.version,
            description=settings.description,
            models=[_described(model) for model in service.models.values()],
        )

    @routes.get("/v1/version", tags=["models"])
    async def version() -> Version:
        """The version of this service and of its API."""
        return Version(release=settings.version, api=API_VERSION)


def _described(model: Model) -> ModelMetadata:
    interface = model.program.interface
    return ModelMetadata(
        name=model.name,
        version=model.settings.version,
        sha256=model.sha256,
        convention=interface.convention.value,
        max_batch_size=interface.max_batch_size,
        inputs=[_tensor(spec, bool(interface.max_batch_size)) for spec in interface.inputs],
        outputs=[_tensor(spec, bool(interface.max_batch_size)) for spec in interface.outputs],
    )


def _tensor(spec: TensorSpec, batches: bool) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.dtype.name, "shape": [-1] * batches + list(spec.dims)}
