"""What the service tells of itself: health, models, licence, versions, metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from ..codec.inference_schema import ErrorEnvelope
from ..request_errors import unavailable
from ..service import Service
from . import manifest
from .management_schema import Health, License, Manifest, Metadata, ModelCard, ModelInfo, ModelList, Version

API_VERSION = "1.0.0"
_NOT_LOADED: dict[int | str, dict[str, Any]] = {503: {"model": ErrorEnvelope, "description": "a model is not loaded"}}


class MetricsText(Response):
    """Prometheus' text format."""

    media_type = "text/plain"


def router(service: Service) -> APIRouter:
    """The routes of `service`."""
    routes = APIRouter()
    _health(routes, service)
    _descriptions(routes, service)

    @routes.get("/v1/metrics", response_class=MetricsText, tags=["metrics"])
    @routes.get("/metrics", response_class=MetricsText, tags=["metrics"])
    async def metrics() -> Response:
        """All metrics, in Prometheus' text format."""
        text = await service.metrics.text(service.metrics_limiter)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return routes


def _health(routes: APIRouter, service: Service) -> None:
    async def live() -> Health:
        """The process answers."""
        return Health(message="Service is live.")

    async def ready() -> Health:
        """Every model is loaded and has answered a request, and the service is not about to stop."""
        state = service.not_ready_reason()
        if state:
            raise unavailable(f"Service is not ready: {state}")
        return Health(message="Service is ready.")

    lives, readies = ["/v1/health/live", "/health"], ["/v1/health/ready", "/ready"]
    if service.settings.health_check_endpoint not in (*lives, *readies):
        lives.append(service.settings.health_check_endpoint)
    not_ready: dict[int | str, dict[str, Any]] = {
        503: {"model": ErrorEnvelope, "description": "a model is loading or has failed, or the service stops"}
    }
    for path in lives:
        routes.add_api_route(path, live, methods=["GET"], tags=["health"])
    for path in readies:
        routes.add_api_route(path, ready, methods=["GET"], tags=["health"], responses=not_ready)


def _descriptions(routes: APIRouter, service: Service) -> None:
    settings = service.settings
    licence = manifest.licence(settings.license)

    @routes.get("/v1/models", tags=["models"])
    async def models() -> ModelList:
        """The models, as in OpenAI's API."""
        return ModelList(data=[ModelCard(id=name, created=each.loaded_at) for name, each in service.models.items()])

    @routes.get("/v1/metadata", tags=["models"], responses=_NOT_LOADED)
    async def metadata() -> Metadata:
        """The service and the interface of each model. 503 until all are loaded."""
        described = [manifest.described(model) for model in service.models.values()]
        return Metadata(
            name=settings.name,
            version=settings.version,
            description=settings.description,
            models=described,
            license_info=licence,
            model_info=[
                ModelInfo(model_url=f"{model.settings.file}@sha256:{model.sha256}", short_name=model.name)
                for model in service.models.values()
            ],
        )

    @routes.get("/v1/version", tags=["models"])
    async def version() -> Version:
        """The version of this service and of its API."""
        return Version(release=settings.version, api=API_VERSION)

    @routes.get("/v1/license", summary="License", tags=["models"])
    async def license_() -> License:
        """The licence of what is served."""
        return licence

    @routes.get("/v1/manifest", summary="Manifest", tags=["models"], responses=_NOT_LOADED)
    async def manifest_() -> Manifest:
        """Each module with its checksum, interface, limits and runtime, and the settings. 503 until all are loaded."""
        return manifest.manifest(service)
