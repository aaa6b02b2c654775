"""Runs one target: generates and writes its files, then runs its tools. An error makes the stage fail."""

from __future__ import annotations

import dataclasses
import errno
import os

from ..contracts.errors import ErrorType, PackagingStage
from ..contracts.output import Artifacts
from ..errors import PortalisError
from ..output import Staging
from ..target import Job, StageError
from .outcome import Failed, Outcome, Produced, Skipped, usable_count
from .target_registry import RegisteredTarget

ERROR_TYPES = {
    PackagingStage.InputValidation: ErrorType.ValidationError,
    PackagingStage.NimGeneration: ErrorType.ContainerBuildError,
    PackagingStage.TritonConfiguration: ErrorType.TritonConfigError,
    PackagingStage.OmniversePackaging: ErrorType.OmniverseCompatibilityError,
    PackagingStage.DocumentationGeneration: ErrorType.DocumentationError,
    PackagingStage.DeploymentGeneration: ErrorType.DocumentationError,
    PackagingStage.ArchiveCreation: ErrorType.ArchiveError,
    PackagingStage.Publishing: ErrorType.PublishingError,
}


def run_target(registered: RegisteredTarget, job: Job, staging: Staging) -> Outcome:
    """The outcome of a target. Raises OSError if the staging directory cannot be written."""
    target = registered.load()
    try:
        result = target.generate(job)
    except Exception as error:  # noqa: BLE001 (the other targets still run)
        return Failed(errors=(_stage_error(error, registered),))
    if result.skipped is not None:
        return Skipped(reason=result.skipped, errors=result.errors)
    written = [file.path for file in staging.write(result.tree)]
    try:
        result = target.run(job, result)
    except Exception as error:  # noqa: BLE001
        staging.discard(written)
        return Failed(errors=(_stage_error(error, registered),))
    written += [file.path for file in staging.write(result.added)]
    files = tuple(dict.fromkeys([*written, *(staging.adopt(path).path for path in result.tool_outputs)]))
    if not result.errors or usable_count(result):
        return Produced(result=result, files=files)
    if result.artifacts.total_artifacts_count():  # validation rejected all of them: none may be deployed or published
        staging.discard(files)
        result, files = dataclasses.replace(result, artifacts=Artifacts()), ()
    return Failed(errors=result.errors, result=result, files=files)


def _stage_error(error: Exception, registered: RegisteredTarget) -> StageError:
    if isinstance(error, StageError):
        return error
    if os.environ.get("PORTALIS_DEBUG"):
        raise error
    if isinstance(error, PortalisError):
        remediation = error.remediation or "Change what the message names, and package again."
        return StageError(ERROR_TYPES[registered.stage], error.message, remediation=remediation)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return StageError(ErrorType.IOError, f"{where}{error.strerror or error}", remediation=_os_remediation(error))
    return StageError(
        ERROR_TYPES[registered.stage],
        f"internal error in {registered.title}: {type(error).__name__}: {error}",
        remediation="Please report this; PORTALIS_DEBUG=1 shows where it happened.",
    )


def _os_remediation(error: OSError) -> str:
    """The remediation for a file that this process cannot read or write."""
    path = error.filename or "the output directory"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"Free space on the file system of {path}, and package again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"Let this user read and write {path}, and package again."
    if error.errno == errno.ENOENT:
        return f"Restore {path}, and package again: it may have been removed during the run."
    return f"Make sure that {path} can be read and written, and package again."
