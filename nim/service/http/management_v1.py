"""The management endpoints under /v1: health, metrics, models, metadata, version, license and manifest."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import asdict

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from ..ensembles import EnsembleModel
from ..metadata import tensor_metadata
from ..module_model import ModuleModel
from ..request_errors import unavailable
from ..runtime_api import Limits
from ..served_model import ServedModel
from ..service import Service
from ..settings import LicenseSettings
from .management_schema import (
    Health,
    License,
    Manifest,
    ManifestEnsemble,
    ManifestModel,
    ManifestStep,
    Metadata,
    ModelCard,
    ModelInfo,
    ModelList,
    ModelMetadata,
    Runtime,
    Version,
    v1_errors,
)

API_VERSION = "1.0.0"
_NOT_LOADED = v1_errors({503: "a model is not loaded"})
_NOT_READY = v1_errors({503: "a model is loading or has failed, or the service is stopping"})


class MetricsText(Response):
    """A response in Prometheus' text format."""

    media_type = "text/plain"


def management_v1_router(service: Service) -> APIRouter:
    """The routes of the management endpoints under /v1."""
    routes = APIRouter()
    _add_health(routes, service)
    _add_metadata(routes, service)

    @routes.get("/v1/metrics", response_class=MetricsText, tags=["metrics"])
    @routes.get("/metrics", response_class=MetricsText, tags=["metrics"])
    async def metrics() -> Response:
        """All metrics, in Prometheus' text format."""
        text = await service.metrics_text()
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return routes


def _add_health(routes: APIRouter, service: Service) -> None:
    async def live() -> Health:
        """Liveness: succeeds while the process responds."""
        return Health(message="Service is live.")

    async def ready() -> Health:
        """Readiness: succeeds when every model is loaded and has served a first request, until the service stops."""
        reason = service.not_ready_reason()
        if reason:
            raise unavailable(f"Service is not ready: {reason}")
        return Health(message="Service is ready.")

    live_paths, ready_paths = ["/v1/health/live", "/health"], ["/v1/health/ready", "/ready"]
    if service.settings.health_check_endpoint not in (*live_paths, *ready_paths):
        live_paths.append(service.settings.health_check_endpoint)
    for path in live_paths:
        routes.add_api_route(path, live, methods=["GET"], tags=["health"])
    for path in ready_paths:
        routes.add_api_route(path, ready, methods=["GET"], tags=["health"], responses=_NOT_READY)


def _add_metadata(routes: APIRouter, service: Service) -> None:
    settings = service.settings
    license_info = license_document(settings.license)

    @routes.get("/v1/models", tags=["models"])
    async def models() -> ModelList:
        """The models, as in OpenAI's API."""
        return ModelList(data=[ModelCard(id=name, created=model.loaded_at) for name, model in service.models.items()])

    @routes.get("/v1/metadata", tags=["models"], responses=_NOT_LOADED)
    async def metadata() -> Metadata:
        """The service and the interface of each model; 503 until all are loaded."""
        return Metadata(
            name=settings.name,
            version=settings.version,
            description=settings.description,
            models=[interface_document(model) for model in service.models.values()],
            license_info=license_info,
            model_info=[
                ModelInfo(model_url=f"{model.settings.file}@sha256:{model.sha256}", short_name=model.name)
                for model in service.models.values()
                if isinstance(model, ModuleModel)
            ],
        )

    @routes.get("/v1/version", tags=["models"])
    async def version() -> Version:
        """The version of this service and of its API."""
        return Version(release=settings.version, api=API_VERSION)

    @routes.get("/v1/license", summary="License", tags=["models"])
    async def license_() -> License:
        """The license of the models."""
        return license_info

    @routes.get("/v1/manifest", summary="Manifest", tags=["models"], responses=_NOT_LOADED)
    async def manifest_() -> Manifest:
        """The settings, each module with its checksum, interface, limits and runtime, and each ensemble with its steps;
        503 until all are loaded."""
        return manifest_document(service)


def license_document(settings: LicenseSettings) -> License:
    """The response of the license endpoint."""
    text = settings.text
    return License(
        name=settings.name,
        sha=hashlib.sha1(text.encode(errors="replace"), usedforsecurity=False).hexdigest(),
        size=len(text),
        url=settings.url,
        content=text,
    )


def interface_document(model: ServedModel) -> ModelMetadata:
    """The interface of `model`. Raises RequestError with status 503 before it is loaded."""
    interface = model.interface
    return ModelMetadata(
        name=model.name,
        version=model.version,
        sha256=model.sha256 if isinstance(model, ModuleModel) else "",
        convention="ensemble" if isinstance(model, EnsembleModel) else interface.convention.value,
        max_batch_size=interface.max_batch_size,
        inputs=[tensor_metadata(spec, bool(interface.max_batch_size)) for spec in interface.inputs],
        outputs=[tensor_metadata(spec, bool(interface.max_batch_size)) for spec in interface.outputs],
    )


def manifest_document(service: Service) -> Manifest:
    """All models and settings of `service`. Raises RequestError with status 503 before every model is loaded."""
    served = service.models.values()
    models = [_manifest_model(model) for model in served if isinstance(model, ModuleModel)]
    ensembles = [_manifest_ensemble(model) for model in served if isinstance(model, EnsembleModel)]
    document = {
        "models": [model.model_dump(mode="json") for model in models],
        "ensembles": [ensemble.model_dump(mode="json") for ensemble in ensembles],
    }
    return Manifest(
        manifest_file=json.dumps(document, indent=2),
        models=models,
        ensembles=ensembles,
        settings=service.settings.model_dump(mode="json", exclude={"models", "ensembles", "license"}),
    )


def _manifest_ensemble(model: EnsembleModel) -> ManifestEnsemble:
    return ManifestEnsemble(
        name=model.name,
        version=model.version,
        interface=interface_document(model),
        steps=[ManifestStep(**step.model_dump()) for step in model.settings.steps],
    )


def _manifest_model(model: ModuleModel) -> ManifestModel:
    settings = model.settings
    return ManifestModel(
        name=model.name,
        version=settings.version,
        file=settings.file,
        sha256=model.sha256,
        size=model.size,
        runtime=_runtime(settings.wasm_runtime),
        interface=interface_document(model),
        isolation=settings.isolation,
        threads=settings.threads,
        limits=asdict(Limits(**settings.limits)),  # type: ignore[arg-type]  # checked when the model was loaded
    )


def _runtime(name: str) -> Runtime:
    # Wasmer and WasmEdge are executables in the image, whose versions are not known here
    return Runtime(name=name, version=importlib.metadata.version("wasmtime") if name == "Wasmtime" else "")
