"""Errors as the output contract has them (requirements 4.3): values of one tree, each with what to do about it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator

from ..documented import DateTime, Record
from ..spec.base import Choice


class PackagingStage(Choice):
    """Where a run was. The first and the last two are beyond the requirements, which have no name for them."""

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
    """What kind of thing failed."""

    ContainerBuildError = "ContainerBuildError"
    TritonConfigError = "TritonConfigError"
    OmniverseCompatibilityError = "OmniverseCompatibilityError"
    ArchiveError = "ArchiveError"
    DocumentationError = "DocumentationError"
    PublishingError = "PublishingError"
    ValidationError = "ValidationError"
    IOError = "IOError"


class ErrorContext(Record):
    """When and where it failed."""

    pipeline_id: str
    agent: Literal["PackagingAgent"] = "PackagingAgent"
    stage: PackagingStage
    timestamp: DateTime


class NimGenerationError(Record):
    """Images that could not be made."""

    kind: Literal["NimGenerationError"] = "NimGenerationError"
    failed_containers: tuple[str, ...] = ()
    docker_errors: tuple[str, ...] = ()
    build_logs: tuple[str, ...] = ()


class TritonConfigError(Record):
    """Models that could not be made, or that a check refused."""

    kind: Literal["TritonConfigError"] = "TritonConfigError"
    failed_models: tuple[str, ...] = ()
    config_errors: tuple[str, ...] = ()
    validation_errors: tuple[str, ...] = ()


class OmniversePackagingError(Record):
    """Modules that an extension cannot run."""

    kind: Literal["OmniversePackagingError"] = "OmniversePackagingError"
    incompatible_modules: tuple[str, ...] = ()
    validation_errors: tuple[str, ...] = ()


class ArchiveCreationError(Record):
    """Archives that could not be written."""

    kind: Literal["ArchiveCreationError"] = "ArchiveCreationError"
    failed_archives: tuple[str, ...] = ()
    io_errors: tuple[str, ...] = ()


class PublishingError(Record):
    """What a registry did not take."""

    kind: Literal["PublishingError"] = "PublishingError"
    registry_url: str
    auth_error: str | None = None
    push_errors: tuple[str, ...] = ()


class InputError(Record):
    """What is wrong with a spec, a contract file or a command line; beyond the requirements."""

    kind: Literal["InputError"] = "InputError"
    source: str
    """What was read."""
    validation_errors: tuple[str, ...] = ()


class InputProblem(Record):
    """One thing that is wrong with an input."""

    where: str
    """Its path, such as ``triton_config.inputs[0].dims``; empty for the whole."""
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
    """What to do."""

    summary: str
    steps: tuple[str, ...] = ()


class PackagingError(Record):
    """One failure."""

    error_type: ErrorType
    message: str
    context: ErrorContext
    remediation: RemediationSuggestion
    details: ErrorDetails | None = None
    type: str | None = None
    """The name of the error's class, such as ``ModuleError``, where a command ended with it."""
    problems: tuple[InputProblem, ...] = ()
    """All that is wrong with the input."""
