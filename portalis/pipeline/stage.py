"""Runs one target: makes its files, writes them, lets it act on them. What goes wrong is the failure of its stage."""

from __future__ import annotations

import os
import time

from ..contracts.errors import ErrorType, PackagingStage
from ..errors import PortalisError
from ..output import Staging
from ..target import Job, StageError, Target
from .outcome import Failed, Outcome, Produced, Stage

_ERRORS = {
    PackagingStage.NimGeneration: ErrorType.ContainerBuildError,
    PackagingStage.TritonConfiguration: ErrorType.TritonConfigError,
    PackagingStage.OmniversePackaging: ErrorType.OmniverseCompatibilityError,
    PackagingStage.DocumentationGeneration: ErrorType.DocumentationError,
    PackagingStage.DeploymentGeneration: ErrorType.DocumentationError,
    PackagingStage.ArchiveCreation: ErrorType.ArchiveError,
    PackagingStage.Publishing: ErrorType.PublishingError,
}


def run_stage(name: str, target: Target, job: Job, staging: Staging) -> Stage:
    """The stage and how it ended. Raises OSError where the staging folder cannot be written."""
    began = time.monotonic()
    outcome = _outcome(target, job, staging)
    seconds = time.monotonic() - began
    return Stage(name=name, title=target.TITLE, stage=target.STAGE, outcome=outcome, seconds=seconds)


def _outcome(target: Target, job: Job, staging: Staging) -> Outcome:
    try:
        made = target.generate(job)
    except Exception as error:  # noqa: BLE001 (one target's fault is not the others')
        return Failed(errors=(_stage_error(error, target),))
    written = [file.path for file in staging.write(made.tree)]
    try:
        made = target.act(job, made)
    except Exception as error:  # noqa: BLE001
        staging.discard(written)
        return Failed(errors=(_stage_error(error, target),))
    files = tuple(dict.fromkeys([*written, *(staging.adopt(path).path for path in made.adopted)]))
    if made.errors and not made.artifacts.total_artifacts_count():
        return Failed(errors=made.errors, made=made, files=files)
    return Produced(made=made, files=files)


def _stage_error(error: Exception, target: Target) -> StageError:
    if isinstance(error, StageError):
        return error
    if os.environ.get("PORTALIS_DEBUG"):
        raise error
    if isinstance(error, PortalisError):
        return StageError(_ERRORS[target.STAGE], error.message, remediation=error.remediation or "Mend it and retry.")
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return StageError(
            ErrorType.IOError, f"{where}{error.strerror or error}", remediation="Check the file system, and retry."
        )
    return StageError(
        _ERRORS[target.STAGE],
        f"{target.TITLE} failed where it should not: {type(error).__name__}: {error}",
        remediation="Please report this; PORTALIS_DEBUG=1 shows where it happened.",
    )
