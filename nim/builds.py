"""Builds one image, and says of it all that the report tells: layers, size, digest, and that it answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ..contracts.artifacts import ContainerArtifact, HealthCheckConfig, ImageLayer
from ..contracts.errors import ErrorType, NimGenerationError
from ..contracts.output import PackagingWarning, ValidationResult, WarningSeverity
from ..engines.errors import EngineFailed
from ..engines.image import Image
from ..target import Job, StageError
from .build_plan import PlannedBuild

if TYPE_CHECKING:
    from ..engines.container_engine import ContainerEngine

KEPT_LINES = 200
LOGS = PurePosixPath("logs")
SMOKE = "smoke run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What has become of an image: an artifact or an error, how its trial went (None where there was none), and the
    files that were written: an archive where one is wanted, the log where something failed."""

    artifact: ContainerArtifact | None = None
    error: StageError | None = None
    tried: ValidationResult | None = None
    warnings: tuple[PackagingWarning, ...] = ()
    files: tuple[PurePosixPath, ...] = ()


def build_image(engine: ContainerEngine, job: Job, planned: PlannedBuild) -> Result:
    """Build, try and export one image from its context in the staging folder."""
    config, began = job.spec.container_config, time.monotonic()
    try:
        image = engine.build(
            job.staging / planned.image.folder,
            planned.image.reference,
            arguments=planned.context.arguments,
            timeout_s=config.build_timeout,
            network=engine.build_network(offline=config.wheelhouse is not None),
            on_line=job.say,
        )
    except EngineFailed as problem:
        return _failed(job, planned, problem, "build")
    job.say(
        f"{planned.image.reference} was built in {time.monotonic() - began:.1f} s: {image.size_bytes / 2**20:.0f} MiB"
    )
    try:
        tried, warnings = _try(engine, job, planned, image)
    except EngineFailed as problem:
        untrue = ValidationResult(name=planned.image.reference, check=SMOKE, valid=False, report=problem.message)
        return _failed(job, planned, problem, "container", tried=untrue)
    archive = planned.image.folder / "image.tar" if config.export_image else None
    if archive is not None:
        try:
            job.say(f"exporting {planned.image.reference}")
            engine.save(planned.image.reference, job.staging / archive)
        except EngineFailed as problem:
            return _failed(job, planned, problem, "export", tried=tried)
    return Result(
        artifact=_artifact(job, planned, image, archive),
        tried=tried,
        warnings=warnings,
        files=() if archive is None else (archive,),
    )


def _try(
    engine: ContainerEngine, job: Job, planned: PlannedBuild, image: Image
) -> tuple[ValidationResult | None, tuple[PackagingWarning, ...]]:
    """How the trial went, None where there was none, and what to know. Raises EngineFailed."""
    from .smoke import smallest_request, smoke

    config, reference = job.spec.container_config, planned.image.reference
    warnings = [] if image.config.get("Healthcheck") else [_unchecked(reference)]
    if not job.tries_images:
        return None, (*warnings, _untried(reference, "nobody wanted it", "Leave out --no-smoke."))
    if config.gpu_required and not engine.capabilities().gpus:
        why = "it needs a GPU, and the engine has none to give"
        return None, (
            *warnings,
            _untried(reference, why, f"Package where {config.runtime} has NVIDIA's container runtime."),
        )
    job.say(f"trying {reference}")
    requests = {module.name: smallest_request(module) for module in planned.modules}
    went = smoke(engine, reference, config=config, requests=requests)
    result = ValidationResult(name=reference, check=SMOKE, valid=True, report=went.told())
    return result, tuple(warnings)


def _untried(reference: str, why: str, remediation: str) -> PackagingWarning:
    return PackagingWarning(
        message=f"the image {reference} was built and not tried: {why}",
        severity=WarningSeverity.Medium,
        remediation=remediation,
    )


def _unchecked(reference: str) -> PackagingWarning:
    return PackagingWarning(
        message=f"the image {reference} has lost its health check: the engine builds in OCI's format, which has none",
        severity=WarningSeverity.Medium,
        remediation="Build in Docker's format (`podman build --format docker`), or rely on Kubernetes' own probes.",
    )


def _artifact(job: Job, planned: PlannedBuild, image: Image, archive: PurePosixPath | None) -> ContainerArtifact:
    config = job.spec.container_config
    return ContainerArtifact(
        image_name=planned.image.name,
        image_tag=planned.image.tag,
        image_id=image.image_id,
        image_size_bytes=image.size_bytes,
        dockerfile_path=job.final(planned.image.folder / "Dockerfile"),
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
        exposed_ports=(config.service_port, config.grpc_port, config.metrics_port),
        environment_vars=config.environment_vars,
        # an image has a registry's digest only once it was pushed; its id is the digest of its configuration
        image_digest=image.digest or image.image_id,
    )


def _moment(text: str) -> str:
    """The engine's time, which has fractions of a second, in whole ones."""
    found = datetime.fromisoformat(text.partition(".")[0].removesuffix("Z"))
    return found.replace(tzinfo=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _failed(
    job: Job, planned: PlannedBuild, problem: EngineFailed, kind: str, *, tried: ValidationResult | None = None
) -> Result:
    """The failure, with the whole of its log in a file, where there is a log."""
    file = LOGS / f"{planned.image.folder.name}.{kind}.log" if problem.log else None
    if file is not None:
        _write(job, file, problem.log)
    error = StageError(
        ErrorType.ContainerBuildError,
        problem.message,
        remediation=problem.remediation,
        details=NimGenerationError(
            failed_containers=(planned.image.reference,),
            docker_errors=(problem.message,),
            build_logs=problem.log[-KEPT_LINES:],
        ),
        log=file,
    )
    return Result(error=error, tried=tried, files=() if file is None else (file,))


def _write(job: Job, file: PurePosixPath, lines: Sequence[str]) -> None:
    path = job.staging / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="replace")
