"""What a run reports (requirements 4.2); written as ``packaging-report.json``."""

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
    """How a run ended."""

    Success = "success"
    PartialSuccess = "partial_success"
    Failure = "failure"


class Artifacts(Record):
    """Everything that a run made."""

    nim_containers: tuple[ContainerArtifact, ...] = ()
    triton_models: tuple[TritonModelArtifact, ...] = ()
    omniverse_packages: tuple[OmniversePackageArtifact, ...] = ()
    distribution_archives: tuple[DistributionArchive, ...] = ()
    api_documentation: tuple[ApiDocumentation, ...] = ()
    integration_guides: tuple[IntegrationGuide, ...] = ()
    deployment_manifests: tuple[DeploymentManifest, ...] = ()

    def total_artifacts_count(self) -> int:
        """How many there are."""
        return sum(len(getattr(self, kind)) for kind in type(self).model_fields)

    def joined(self, other: Artifacts) -> Artifacts:
        """These and the others."""
        return Artifacts(**{kind: getattr(self, kind) + getattr(other, kind) for kind in type(self).model_fields})


class WarningSeverity(Choice):
    """How much a warning matters."""

    High = "High"
    Medium = "Medium"
    Low = "Low"


class PackagingWarning(Record):
    """Something that a user should know (``Warning``)."""

    message: str
    severity: WarningSeverity
    remediation: str


class ValidationResult(Record):
    """What one check said of one artifact."""

    name: str
    """What was checked."""
    check: str
    """How it was checked, such as ``static`` or ``live``."""
    valid: bool
    tried: bool = True
    """False where the check was asked for and could not be made; the artifact is not valid then, nor refused."""
    report: str


class StageReport(Record):
    """How one stage ended."""

    stage: PackagingStage
    name: str
    outcome: Literal["produced", "skipped", "failed"]
    reason: str | None = None
    """Why it was skipped, or failed."""
    seconds: FloatSeconds


class PackageMetadata(Record):
    """The manifest and the checksums."""

    package_manifest: PackageManifest | None
    """Null when the run failed."""
    checksums: dict[AbsolutePath, Sha256]
    total_artifacts: U32
    total_size_bytes: U64


class PackagingMetrics(Record):
    """Where the time went, in seconds."""

    packaging_time_seconds: FloatSeconds
    nim_generation_time: FloatSeconds
    triton_config_time: FloatSeconds
    archive_creation_time: FloatSeconds
    stages: tuple[StageReport, ...] = ()


class Diagnostics(Record):
    """What went wrong, and what to look at."""

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
    """What is in a registry."""
