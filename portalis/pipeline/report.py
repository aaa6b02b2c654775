"""Builds the report of a run (requirements 4.2) from the outcomes of its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from ..contracts.errors import (
    ArchiveCreationError,
    ErrorContext,
    PackagingError,
    PackagingStage,
    PublishingError,
    RemediationSuggestion,
)
from ..contracts.output import (
    Artifacts,
    Diagnostics,
    PackageMetadata,
    PackagingAgentOutput,
    PackagingMetrics,
    PackagingWarning,
    StageReport,
    Status,
    WarningSeverity,
)
from ..contracts.package_manifest import PackageManifest
from ..output import Written
from ..target import StageError
from .outcome import Failed, Skipped, Stage, usable_count

# what a failed stage means for deployment (requirements 5.2), and the remediation if the cause `_is_usual`
_CONSEQUENCES = {
    PackagingStage.NimGeneration: (
        "NIM containers not generated - Docker deployment unavailable",
        WarningSeverity.High,
        "Install Docker and retry packaging",
    ),
    PackagingStage.TritonConfiguration: (
        "Triton models not configured - Triton deployment unavailable",
        WarningSeverity.High,
        "Check Triton configuration and retry",
    ),
    PackagingStage.OmniversePackaging: (
        "Omniverse packages not created",
        WarningSeverity.Medium,
        "Review WASM compatibility requirements",
    ),
    PackagingStage.DocumentationGeneration: (
        "API documentation not generated",
        WarningSeverity.Low,
        "Check the modules' interfaces and retry",
    ),
    PackagingStage.DeploymentGeneration: (
        "Deployment manifests not generated",
        WarningSeverity.Medium,
        "Check the container configuration and retry",
    ),
    PackagingStage.ArchiveCreation: (
        "Distribution archives not created",
        WarningSeverity.High,
        "Check disk space and permissions, and retry",
    ),
    PackagingStage.Publishing: (
        "Artifacts not published to registry",
        WarningSeverity.Low,
        "Manually push artifacts using provided scripts",
    ),
}


def run_status(stages: Sequence[Stage], run_errors: Sequence[StageError], *, stopped: bool) -> Status:
    """The status of a run.

    It is ``failure`` if no requested artifact is usable or the run was `stopped`, and ``partial_success`` if there are
    errors besides. Documentation and manifests are not usable without the artifacts that they are about.
    """
    ran = [stage for stage in stages if stage.errors or not isinstance(stage.outcome, Skipped)]
    requested = [stage for stage in ran if stage.requested_by is not None] or ran
    if stopped or not any(usable_count(stage.result) for stage in requested):
        return Status.Failure
    return Status.PartialSuccess if run_errors or any(stage.errors for stage in stages) else Status.Success


def run_artifacts(stages: Sequence[Stage]) -> Artifacts:
    """The artifacts of all stages."""
    artifacts = Artifacts()
    for stage in stages:
        artifacts = artifacts.joined(stage.result.artifacts)
    return artifacts


def build_report(
    *,
    status: Status,
    stages: Sequence[Stage],
    run_errors: Sequence[StageError],
    files: Mapping[PurePosixPath, Written],
    output: Path,
    logs: Path,
    manifest: PackageManifest | None,
    engine: str,
    pipeline_id: str,
    timestamp: str,
    seconds: float,
) -> PackagingAgentOutput:
    """The report of a run; `engine` is the name of the container engine in the spec.

    The report of a failed run has no artifacts, because the output directory is unchanged. The logs that its errors
    name are in the directory `logs`.
    """
    failed = status is Status.Failure
    errors = [(PackagingStage.InputValidation, error) for error in run_errors]
    errors += [(stage.stage, error) for stage in stages for error in stage.errors]
    artifacts = Artifacts() if failed else run_artifacts(stages)
    return PackagingAgentOutput(
        status=status,
        artifacts=artifacts,
        package_metadata=PackageMetadata(
            package_manifest=None if failed else manifest,
            checksums={} if failed else {str(output / path): file.sha256 for path, file in sorted(files.items())},
            total_artifacts=artifacts.total_artifacts_count(),
            total_size_bytes=0 if failed else sum(file.size_bytes for file in files.values()),
        ),
        packaging_metrics=_metrics(stages, seconds),
        diagnostics=Diagnostics(
            warnings=tuple(_warnings(stages, engine)),
            errors=tuple(
                _error(
                    error,
                    ErrorContext(pipeline_id=pipeline_id, stage=stage, timestamp=timestamp),
                    logs=logs,
                    gone=output if failed else None,
                )
                for stage, error in errors
            ),
            validation_results=tuple(result for stage in stages for result in stage.result.validation_results),
        ),
        published=tuple(each for stage in stages for each in stage.result.published),
    )


def _metrics(stages: Sequence[Stage], seconds: float) -> PackagingMetrics:
    def seconds_in(kind: PackagingStage) -> float:
        return round(sum(stage.seconds for stage in stages if stage.stage is kind), 6)

    return PackagingMetrics(
        packaging_time_seconds=round(seconds, 6),
        nim_generation_time=seconds_in(PackagingStage.NimGeneration),
        triton_config_time=seconds_in(PackagingStage.TritonConfiguration),
        archive_creation_time=seconds_in(PackagingStage.ArchiveCreation),
        stages=tuple(_stage(stage) for stage in stages),
    )


def _stage(stage: Stage) -> StageReport:
    outcome, reason = stage.outcome, None
    if isinstance(outcome, Skipped):
        name, reason = "skipped", outcome.reason
    elif isinstance(outcome, Failed):
        name, reason = "failed", "; ".join(error.message for error in outcome.errors)
    else:
        name = "produced"
    return StageReport.model_validate(
        {
            "stage": stage.stage,
            "name": stage.name,
            "outcome": name,
            "reason": reason,
            "seconds": round(stage.seconds, 6),
        }
    )


def _warnings(stages: Sequence[Stage], engine: str) -> list[PackagingWarning]:
    """The warnings of the stages, and the consequence of each stage that failed or was skipped with errors.

    A stage with both errors and artifacts can still be deployed.
    """
    found = [warning for stage in stages for warning in stage.result.warnings]
    for stage in stages:
        if not isinstance(stage.outcome, (Failed, Skipped)) or not stage.errors:
            continue
        message, severity, remediation = _CONSEQUENCES[stage.stage]
        message, remediation = (text.replace("Docker", engine) for text in (message, remediation))
        if not all(_is_usual(stage.stage, error) for error in stage.errors):
            remediation = " ".join(dict.fromkeys(error.remediation for error in stage.errors if error.remediation))
        found.append(PackagingWarning(message=message, severity=severity, remediation=remediation))
    return found


def _is_usual(stage: PackagingStage, error: StageError) -> bool:
    """Whether the requirements' remediation applies: they assume one cause for each stage."""
    if stage is PackagingStage.NimGeneration:
        return error.no_engine
    if stage is PackagingStage.ArchiveCreation:
        return isinstance(error.details, ArchiveCreationError) and bool(error.details.io_errors)
    return stage is PackagingStage.Publishing and isinstance(error.details, PublishingError)


def _error(error: StageError, context: ErrorContext, *, logs: Path, gone: Path | None) -> PackagingError:
    log = () if error.log is None else (f"The whole log is in {logs / error.log}",)
    # steps for files in the directory `gone`, which were not kept, are not possible
    steps = [step for step in error.steps if gone is None or str(gone) not in step]
    return PackagingError(
        error_type=error.kind,
        message=error.message,
        context=context,
        remediation=RemediationSuggestion(summary=error.remediation, steps=(*log, *steps)),
        details=error.details,
    )
