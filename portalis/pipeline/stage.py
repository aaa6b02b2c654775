"""Runs one target: makes its files, writes them, lets it act on them. What goes wrong is the failure of its stage."""

from __future__ import annotations

import dataclasses
import errno
import os

from ..contracts.errors import ErrorType, PackagingStage
from ..contracts.output import Artifacts
from ..errors import PortalisError
from ..output import Staging
from ..target import Job, StageError
from .outcome import Failed, Outcome, Produced, Skipped, usable
from .target_registry import Registered

ERRORS = {
    PackagingStage.InputValidation: ErrorType.ValidationError,
    PackagingStage.NimGeneration: ErrorType.ContainerBuildError,
    PackagingStage.TritonConfiguration: ErrorType.TritonConfigError,
    PackagingStage.OmniversePackaging: ErrorType.OmniverseCompatibilityError,
    PackagingStage.DocumentationGeneration: ErrorType.DocumentationError,
    PackagingStage.DeploymentGeneration: ErrorType.DocumentationError,
    PackagingStage.ArchiveCreation: ErrorType.ArchiveError,
    PackagingStage.Publishing: ErrorType.PublishingError,
}


def run_target(registered: Registered, job: Job, staging: Staging) -> Outcome:
    """How the target ended. Raises OSError where the staging folder cannot be written."""
    target = registered.load()
    try:
        made = target.generate(job)
    except Exception as error:  # noqa: BLE001 (one target's fault is not the others')
        return Failed(errors=(_stage_error(error, registered),))
    if made.skipped is not None:
        return Skipped(reason=made.skipped, errors=made.errors)
    written = [file.path for file in staging.write(made.tree)]
    try:
        made = target.run(job, made)
    except Exception as error:  # noqa: BLE001
        staging.discard(written)
        return Failed(errors=(_stage_error(error, registered),))
    files = tuple(dict.fromkeys([*written, *(staging.adopt(path).path for path in made.tool_outputs)]))
    if not made.errors or usable(made):
        return Produced(made=made, files=files)
    if made.artifacts.total_artifacts_count():  # a check has refused them all: nobody is to deploy or to publish one
        staging.discard(files)
        made, files = dataclasses.replace(made, artifacts=Artifacts()), ()
    return Failed(errors=made.errors, made=made, files=files)


def _stage_error(error: Exception, registered: Registered) -> StageError:
    if isinstance(error, StageError):
        return error
    if os.environ.get("PORTALIS_DEBUG"):
        raise error
    if isinstance(error, PortalisError):
        remediation = error.remediation or "Change what the message names, and package again."
        return StageError(ERRORS[registered.stage], error.message, remediation=remediation)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return StageError(ErrorType.IOError, f"{where}{error.strerror or error}", remediation=_of_system(error))
    return StageError(
        ERRORS[registered.stage],
        f"internal error in {registered.title}: {type(error).__name__}: {error}",
        remediation="Please report this; PORTALIS_DEBUG=1 shows where it happened.",
    )


def _of_system(error: OSError) -> str:
    """What to do about a file that the system does not let this process read or write."""
    what = error.filename or "the output directory"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"Free space on the file system of {what}, and package again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"Let this user read and write {what}, and package again."
    if error.errno == errno.ENOENT:
        return f"Put {what} there, and package again: it may have been removed meanwhile."
    return f"See that {what} can be read and written, and package again."
