"""Errors of the output contract (requirements 4.3), each with a remediation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator

from ..documented import DateTime, Record
from ..spec.base import Choice


class PackagingStage(Choice):
    """A stage of a run. The first and the last two are not in the requirements, which have no name for them."""

    InputValidation = "InputValidation"
    NimGeneration = "NimGeneration"
    TritonConfiguration = "TritonConfiguration"
    OmniversePackaging = "OmniversePackaging"
    DocumentationGeneration = "DocumentationGeneration"
    ArchiveCreation = "ArchiveCreation"
    Publishing = "Publishing"
    DeploymentGeneration = "DeploymentGeneration"
    ManifestGeneration = "ManifestGeneration"


class ErrorType(Choice):
    """The kind of a failure."""

    ContainerBuildError = "ContainerBuildError"
    TritonConfigError = "TritonConfigError"
    OmniverseCompatibilityError = "OmniverseCompatibilityError"
    ArchiveError = "ArchiveError"
    DocumentationError = "DocumentationError"
    PublishingError = "PublishingError"
    ValidationError = "ValidationError"
    IOError = "IOError"


class ErrorContext(Record):
    """Time and stage of a failure."""

    pipeline_id: str
    agent: Literal["PackagingAgent"] = "PackagingAgent"
    stage: PackagingStage
    timestamp: DateTime


class NimGenerationError(Record):
    """Images that could not be built."""

    kind: Literal["NimGenerationError"] = "NimGenerationError"
    failed_containers: tuple[str, ...] = ()
    docker_errors: tuple[str, ...] = ()
    build_logs: tuple[str, ...] = ()


class TritonConfigError(Record):
    """Models that could not be generated, or that validation rejected."""

    kind: Literal["TritonConfigError"] = "TritonConfigError"
    failed_models: tuple[str, ...] = ()
    config_errors: tuple[str, ...] = ()
    validation_errors: tuple[str, ...] = ()


class OmniversePackagingError(Record):
    """Modules that cannot run in Omniverse Kit."""

    kind: Literal["OmniversePackagingError"] = "OmniversePackagingError"
    incompatible_modules: tuple[str, ...] = ()
    validation_errors: tuple[str, ...] = ()


class ArchiveCreationError(Record):
    """Archives that could not be written."""

    kind: Literal["ArchiveCreationError"] = "ArchiveCreationError"
    failed_archives: tuple[str, ...] = ()
    io_errors: tuple[str, ...] = ()


class PublishingError(Record):
    """Artifacts that could not be published."""

    kind: Literal["PublishingError"] = "PublishingError"
    registry_url: str
    auth_error: str | None = None
    push_errors: tuple[str, ...] = ()


class InputError(Record):
    """Problems of a spec, a contract file or a command line. Not in the requirements."""

    kind: Literal["InputError"] = "InputError"
    source: str
    """The file, or another name of the input."""
    validation_errors: tuple[str, ...] = ()


class InputProblem(Record):
    """A problem of an input."""

    where: str
    """The key path, such as ``triton_config.inputs[0].dims``; empty for the whole input."""
    message: str
    remediation: str


ErrorDetails = Annotated[
    NimGenerationError
    | TritonConfigError
    | OmniversePackagingError
    | ArchiveCreationError
    | PublishingError
    | InputError,
    Discriminator("kind"),
]


class RemediationSuggestion(Record):
    """A summary and steps that fix a problem."""

    summary: str
    steps: tuple[str, ...] = ()


class PackagingError(Record):
    """A failure of a run or of a command."""

    error_type: ErrorType
    message: str
    context: ErrorContext
    remediation: RemediationSuggestion
    details: ErrorDetails | None = None
    type: str | None = None
    """The name of the error's class, such as ``ModuleError``, if a command failed with it."""
    problems: tuple[InputProblem, ...] = ()
    """All problems of the input."""
