"""The output contract (requirements 4.2): the report of a run, ``packaging-report.json``."""

from __future__ import annotations

from typing import Literal

from ..documented import AbsolutePath, FloatSeconds, Record, Sha256
from ..spec.base import U32, U64, Choice
from .artifacts import (
    ContainerArtifact,
    DeploymentManifest,
    DistributionArchive,
    OmniversePackageArtifact,
    TritonModelArtifact,
)
from .documents import ApiDocumentation, IntegrationGuide
from .errors import PackagingError, PackagingStage
from .package_manifest import PackageManifest
from .published import PublishedArtifact


class Status(Choice):
    """The result of a run."""

    Success = "success"
    PartialSuccess = "partial_success"
    Failure = "failure"


class Artifacts(Record):
    """The artifacts of a run."""

    nim_containers: tuple[ContainerArtifact, ...] = ()
    triton_models: tuple[TritonModelArtifact, ...] = ()
    omniverse_packages: tuple[OmniversePackageArtifact, ...] = ()
    distribution_archives: tuple[DistributionArchive, ...] = ()
    api_documentation: tuple[ApiDocumentation, ...] = ()
    integration_guides: tuple[IntegrationGuide, ...] = ()
    deployment_manifests: tuple[DeploymentManifest, ...] = ()

    def total_artifacts_count(self) -> int:
        """The number of artifacts."""
        return sum(len(getattr(self, kind)) for kind in type(self).model_fields)

    def joined(self, other: Artifacts) -> Artifacts:
        """These artifacts and those of `other`."""
        return Artifacts(**{kind: getattr(self, kind) + getattr(other, kind) for kind in type(self).model_fields})


class WarningSeverity(Choice):
    """The importance of a warning."""

    High = "High"
    Medium = "Medium"
    Low = "Low"


class PackagingWarning(Record):
    """A warning to the user (``Warning`` in the requirements)."""

    message: str
    severity: WarningSeverity
    remediation: str


class ValidationResult(Record):
    """The result of one validation of one artifact."""

    name: str
    """The name of the artifact."""
    check: str
    """The kind of validation, such as ``static`` or ``live``."""
    valid: bool
    tried: bool = True
    """False if a requested validation was not possible; the artifact is then neither valid nor rejected."""
    report: str


class StageReport(Record):
    """The outcome of a stage."""

    stage: PackagingStage
    name: str
    outcome: Literal["produced", "skipped", "failed"]
    reason: str | None = None
    """The reason for a skipped or failed stage."""
    seconds: FloatSeconds


class PackageMetadata(Record):
    """The manifest and the checksums of the package."""

    package_manifest: PackageManifest | None
    """Null if the run failed."""
    checksums: dict[AbsolutePath, Sha256]
    total_artifacts: U32
    total_size_bytes: U64


class PackagingMetrics(Record):
    """Durations, in seconds."""

    packaging_time_seconds: FloatSeconds
    nim_generation_time: FloatSeconds
    triton_config_time: FloatSeconds
    archive_creation_time: FloatSeconds
    stages: tuple[StageReport, ...] = ()


class Diagnostics(Record):
    """Warnings, errors and results of validation."""

    warnings: tuple[PackagingWarning, ...] = ()
    errors: tuple[PackagingError, ...] = ()
    validation_results: tuple[ValidationResult, ...] = ()


class PackagingAgentOutput(Record):
    """The report of a run."""

    status: Status
    artifacts: Artifacts
    package_metadata: PackageMetadata
    packaging_metrics: PackagingMetrics
    diagnostics: Diagnostics
    published: tuple[PublishedArtifact, ...] = ()
    """The artifacts that are in a registry."""
