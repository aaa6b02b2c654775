"""Builds one image, smoke tests and exports it, and describes the result for the report."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ..contracts.artifacts import ContainerArtifact, HealthCheckConfig, ImageLayer
from ..contracts.errors import ErrorType, NimGenerationError
from ..contracts.output import PackagingWarning, ValidationResult, WarningSeverity
from ..engines.errors import EngineFailed
from ..engines.image import Image
from ..output import OutputTree
from ..output.package_layout import IMAGE_ARCHIVE
from ..target import Job, StageError
from .build_plan import PlannedBuild

if TYPE_CHECKING:
    from ..engines.container_engine import ContainerEngine

_LOGS = PurePosixPath("logs")
_REPORTED_LOG_LINES = 200
"""Number of lines of a log, counted from its end, that the report repeats."""
_SMOKE_TEST = "smoke run"  # the name of the check in the report


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """The result of a build: an artifact or an error."""

    artifact: ContainerArtifact | None = None
    error: StageError | None = None
    validation: ValidationResult | None = None
    """The result of the smoke test; None if it was skipped."""
    warnings: tuple[PackagingWarning, ...] = ()
    files: tuple[PurePosixPath, ...] = ()
    """The exported image, which the engine wrote to the staging directory."""
    added: OutputTree = field(default_factory=OutputTree)
    """The log of a failure."""


def build_image(engine: ContainerEngine, job: Job, planned: PlannedBuild) -> BuildResult:
    """Build, test and export one image from its context in the staging directory."""
    config, reference, began = job.spec.container_config, planned.image.reference, time.monotonic()
    try:
        image = engine.build(
            job.staging / planned.image.folder,
            reference,
            arguments=planned.context.arguments,
            timeout_s=config.build_timeout,
            network=engine.build_network(offline=config.wheelhouse is not None),
            on_line=job.report,
        )
    except EngineFailed as error:
        return _failed(planned, error, "build")
    job.report(f"{reference} was built in {time.monotonic() - began:.1f} s: {image.size_bytes / 2**20:.0f} MiB")
    try:
        validation, warnings = _smoke_test(engine, job, planned, image)
    except EngineFailed as error:
        invalid = ValidationResult(name=reference, check=_SMOKE_TEST, valid=False, report=error.message)
        return _failed(planned, error, "container", validation=invalid)
    archive = planned.image.folder / IMAGE_ARCHIVE if config.export_image else None
    if archive is not None:
        try:
            job.report(f"exporting {reference}")
            engine.save(reference, job.staging / archive)
        except EngineFailed as error:
            return _failed(planned, error, "export", validation=validation)
    return BuildResult(
        artifact=_artifact(job, planned, image, archive),
        validation=validation,
        warnings=warnings,
        files=() if archive is None else (archive,),
    )


def _smoke_test(
    engine: ContainerEngine, job: Job, planned: PlannedBuild, image: Image
) -> tuple[ValidationResult | None, tuple[PackagingWarning, ...]]:
    """The result of the smoke test, None if it is skipped, and warnings. Raises EngineFailed."""
    from .smoke import smallest_request, smoke_test

    config, reference = job.spec.container_config, planned.image.reference
    warnings = [] if image.config.get("Healthcheck") else [_no_health_check(reference)]
    if not job.smoke_tests_images:
        return None, (*warnings, _untested(reference, "smoke tests are disabled", "Omit --no-smoke."))
    if config.gpu_required and not engine.capabilities().gpus:
        reason = "it requires a GPU, and the engine cannot assign one"
        remediation = f"Package on a host where {config.runtime} has NVIDIA's container runtime."
        return None, (*warnings, _untested(reference, reason, remediation))
    job.report(f"testing {reference}")
    requests = {module.name: smallest_request(module) for module in planned.modules}
    report = smoke_test(engine, reference, config=config, requests=requests)
    result = ValidationResult(name=reference, check=_SMOKE_TEST, valid=True, report=report.describe())
    return result, tuple(warnings)


def _untested(reference: str, reason: str, remediation: str) -> PackagingWarning:
    return PackagingWarning(
        message=f"the image {reference} was built but not tested: {reason}",
        severity=WarningSeverity.Medium,
        remediation=remediation,
    )


def _no_health_check(reference: str) -> PackagingWarning:
    return PackagingWarning(
        message=f"the image {reference} has no health check: the engine builds in OCI format, which has none",
        severity=WarningSeverity.Medium,
        remediation="Build in Docker format (`podman build --format docker`), or rely on Kubernetes' own probes.",
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
        created_at=_timestamp(image.created_at),
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
        # an image gets a manifest digest only when it is pushed; its id is the digest of its configuration
        image_digest=image.digest or image.image_id,
    )


def _timestamp(text: str) -> str:
    """An engine's time stamp, which has fractions of a second, in whole seconds."""
    parsed = datetime.fromisoformat(text.partition(".")[0].removesuffix("Z"))
    return parsed.replace(tzinfo=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _failed(
    planned: PlannedBuild, error: EngineFailed, step: str, *, validation: ValidationResult | None = None
) -> BuildResult:
    """The failure of a `step`. The result has the complete log as a file, if there is one."""
    added, file = OutputTree(), None
    if error.log:
        text = "".join(f"{line}\n" for line in error.log)
        file = added.add(_LOGS / f"{planned.image.folder.name}.{step}.log", text.encode("utf-8", "replace"))
    stage_error = StageError(
        ErrorType.ContainerBuildError,
        error.message,
        remediation=error.remediation,
        details=NimGenerationError(
            failed_containers=(planned.image.reference,),
            docker_errors=(error.message,),
            build_logs=error.log[-_REPORTED_LOG_LINES:],
        ),
        log=file,
    )
    return BuildResult(error=stage_error, validation=validation, added=added)
