"""What is served, in full: licence, modules with checksums and interfaces, settings."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import asdict

from ..metadata import tensor_metadata
from ..models import ServedModel
from ..runtime_api import Limits
from ..service import Service
from ..settings import LicenseSettings
from .management_schema import License, Manifest, ManifestModel, ModelMetadata, Runtime


def licence(settings: LicenseSettings) -> License:
    """The licence of `settings`."""
    text = settings.text
    return License(
        name=settings.name,
        sha=hashlib.sha1(text.encode(errors="replace"), usedforsecurity=False).hexdigest(),
        size=len(text),
        url=settings.url,
        content=text,
    )


def manifest(service: Service) -> Manifest:
    """All that `service` serves. Raises RequestError with status 503 before every model is loaded."""
    models = [_listed(model) for model in service.models.values()]
    listed = {"models": [each.model_dump(mode="json") for each in models]}
    return Manifest(
        manifest_file=json.dumps(listed, indent=2),
        models=models,
        settings=service.settings.model_dump(mode="json", exclude={"models", "license"}),
    )


def described(model: ServedModel) -> ModelMetadata:
    """The interface of `model`. Raises RequestError with status 503 before it is loaded."""
    interface = model.program.interface
    return ModelMetadata(
        name=model.name,
        version=model.settings.version,
        sha256=model.sha256,
        convention=interface.convention.value,
        max_batch_size=interface.max_batch_size,
        inputs=[tensor_metadata(spec, bool(interface.max_batch_size)) for spec in interface.inputs],
        outputs=[tensor_metadata(spec, bool(interface.max_batch_size)) for spec in interface.outputs],
    )


def _listed(model: ServedModel) -> ManifestModel:
    settings = model.settings
    return ManifestModel(
        name=model.name,
        version=settings.version,
        file=settings.file,
        sha256=model.sha256,
        size=model.size,
        runtime=_runtime(settings.wasm_runtime),
        interface=described(model),
        isolation=settings.isolation,
        threads=settings.threads,
        limits=asdict(Limits(**settings.limits)),  # type: ignore[arg-type]  # loading has checked them,
    )


def _runtime(name: str) -> Runtime:
    # the others are programs of the image, which do not tell
    return Runtime(name=name, version=importlib.metadata.version("wasmtime") if name == "Wasmtime" else "")
