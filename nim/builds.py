"""Builds one image, and says of it all that the report tells: layers, size, digest, and that it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ..contracts.artifacts import ContainerArtifact, HealthCheckConfig, ImageLayer
from ..contracts.errors import ErrorType, NimGenerationError
from ..spec.names import image_folder, image_of
from ..target import Job, Module, StageError
from .image import EngineFailed, Image

if TYPE_CHECKING:
    from .engine import Engine

KEPT_LINES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """An image to be built from its context in the staging folder."""

    job: Job
    engine: Engine
    module: Module
    arguments: Mapping[str, str]


def build_image(build: Build) -> tuple[ContainerArtifact, tuple[PurePosixPath, ...]]:
    """The image and the files that the engine wrote (an archive, where one is wanted).

    Raises StageError with the build's log, or with the container's where the image does not answer.
    """
    from .smoke import smoke

    job, config = build.job, build.job.spec.container_config
    name, tag = image_of(job.spec, build.module.binary)
    folder = image_folder(job.spec, build.module.binary)
    reference = f"{name}:{tag}"
    try:
        image = build.engine.build(
            job.staging / folder,
            reference,
            arguments=build.arguments,
            timeout_s=config.build_timeout,
            # without a bridge the engine has no network to give; wheels in the context need none
            network="none" if config.wheelhouse else None if build.engine.has_bridge() else "host",
            on_line=job.say,
        )
        if config.gpu_required:
            job.say(f"{reference} needs a GPU, so it is not tried here")
        else:
            job.say(f"trying {reference}")
            smoke(build.engine, reference, config=config, model=build.module.name, request=_request(build.module))
        archive = folder / "image.tar" if config.export_image else None
        if archive is not None:
            build.engine.save(reference, job.staging / archive)
    except EngineFailed as problem:
        raise _failed(reference, problem) from None
    artifact = _artifact(build, image, archive)
    return artifact, () if archive is None else (archive,)


def _artifact(build: Build, image: Image, archive: PurePosixPath | None) -> ContainerArtifact:
    job, config = build.job, build.job.spec.container_config
    name, tag = image_of(job.spec, build.module.binary)
    return ContainerArtifact(
        image_name=name,
        image_tag=tag,
        image_id=image.image_id,
        image_size_bytes=image.size_bytes,
        dockerfile_path=job.final(image_folder(job.spec, build.module.binary) / "Dockerfile"),
        image_archive_path=None if archive is None else job.final(archive),
        created_at=_moment(image.created_at),
        base_image=config.base_image,
        layers=tuple(
            ImageLayer(
                layer_id=layer.layer_id,
                size_bytes=layer.size_bytes,
                created_by=layer.created_by,
                comment=layer.comment or None,
            )
            for layer in image.layers
        ),
        health_check_config=HealthCheckConfig(
            endpoint=config.health_check_endpoint,
            interval_seconds=config.health_check_interval,
            timeout_seconds=config.health_check_timeout,
            retries=config.health_check_retries,
        ),
        exposed_ports=(config.service_port, config.metrics_port),
        environment_vars=config.environment_vars,
        # an image has a registry's digest only once it was pushed; its id is the digest of its configuration
        image_digest=image.digest or image.image_id,
    )


def _moment(text: str) -> str:
    """The engine's time, which has fractions of a second, in whole ones."""
    found = datetime.fromisoformat(text.partition(".")[0].removesuffix("Z"))
    return found.replace(tzinfo=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _request(module: Module) -> dict[str, Any]:
    """Zeros of the smallest shape for each input that has to be there."""
    interface = module.inspection.interface
    assert interface is not None
    needed = [spec for spec in interface.inputs if not spec.optional] or list(interface.inputs)
    tensors = []
    for spec in needed:
        shape = ([1] if interface.max_batch_size else []) + [max(size, 1) for size in spec.dims]
        zero: Any = "" if spec.dtype.name == "BYTES" else False if spec.dtype.name == "BOOL" else 0
        data = [zero] * math.prod(shape)
        tensors.append({"name": spec.name, "datatype": spec.dtype.name, "shape": shape, "data": data})
    return {"inputs": tensors}


def _failed(reference: str, problem: EngineFailed) -> StageError:
    return StageError(
        ErrorType.ContainerBuildError,
        problem.message,
        remediation=problem.remediation,
        details=NimGenerationError(
            failed_containers=(reference,), docker_errors=(problem.message,), build_logs=problem.log[-KEPT_LINES:]
        ),
    )
