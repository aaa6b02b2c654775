"""The target `publish`, the last one: publishes the artifacts of the other targets. If anything fails, the script
publish.sh is added to the package."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ..contracts.errors import ErrorType, PublishingError
from ..contracts.output import PackagingWarning, WarningSeverity
from ..engines.engine_commands import engine_program
from ..errors import PortalisError, UsageError
from ..oci.address import Address, parse_address
from ..oci.logins import find_credentials
from ..output import OutputTree
from ..output.package_layout import PUBLISH_SCRIPT
from ..problems import Problem
from ..spec import PackageSpec
from ..target import Job, StageError, TargetResult

if TYPE_CHECKING:
    from .published_package import Package
    from .publishing_plan import PublishingPlan
    from .push import PublishingOutcome


def skip_reason(spec: PackageSpec) -> str | None:
    """The reason why nothing is published; None if the spec enables publishing."""
    return None if spec.publish_to_registry else "publish_to_registry is false"


def spec_problems(spec: PackageSpec) -> Iterable[Problem]:
    """The problem of an invalid registry_url."""
    if not spec.publish_to_registry or spec.registry_url is None:
        return
    try:
        parse_address(spec.registry_url)
    except UsageError as error:
        yield Problem(where="registry_url", message=error.message, remediation=error.remediation)


def generate(job: Job) -> TargetResult:
    """An empty result: publishing generates no files, except for a script if it fails."""
    return TargetResult()


def run(job: Job, result: TargetResult) -> TargetResult:
    """Publish the artifacts in `job`, and add what was published to `result`.

    If some are not published, also add an error, and the script that publishes everything. Raises StageError if
    nothing can be published, and MissingPart if urllib3 is not installed.
    """
    from .publishing_plan import make_plan
    from .push import publish_plan

    address = parse_address(job.spec.registry_url or "")
    try:
        plan = make_plan(_package(job), address)
    except PortalisError as error:
        raise _stage_error(address, error) from None
    if not plan.images and not plan.artifacts:
        empty = UsageError("nothing to publish", remediation="Enable a target that generates artifacts.")
        raise _stage_error(address, empty)
    result = dataclasses.replace(result, warnings=(*result.warnings, *map(_not_published, plan.notes)))
    try:
        credentials = find_credentials(address)
    except PortalisError as error:
        return _with_script(job, result, plan, _stage_error(address, error))
    runtime = job.spec.container_config.runtime
    outcome = publish_plan(plan, credentials, runtime=runtime, on_progress=job.report)
    result = dataclasses.replace(result, published=(*result.published, *outcome.published))
    return _with_script(job, result, plan, publishing_error(plan, outcome)) if outcome.failures else result


def publishing_error(plan: PublishingPlan, outcome: PublishingOutcome) -> StageError:
    """The error of an outcome with failures. Its message names the first one and the number of the others."""
    first, count = outcome.failures[0], len(outcome.failures) + len(outcome.untried)
    more = f" (and {count - 1} more)" if count > 1 else ""
    return StageError(
        ErrorType.PublishingError,
        f"{first.reference} was not published{more}: {first.message}",
        remediation=first.remediation,
        details=PublishingError(
            registry_url=str(plan.address),
            auth_error=next((each.message for each in outcome.failures if each.denied), None),
            push_errors=(
                *(f"{each.reference}: {each.message}" for each in outcome.failures),
                *(f"{reference}: not attempted" for reference in outcome.untried),
            ),
        ),
    )


def _package(job: Job) -> Package:
    from .published_package import Package

    return Package(
        manifest=job.manifest(),
        artifacts=job.artifacts,
        folder=job.staging,
        root=PurePosixPath(job.output),
        files={path: file.sha256 for path, file in job.files.items()},
        modules={module.name: module.path for module in job.modules},
    )


def _not_published(note: str) -> PackagingWarning:
    return PackagingWarning(
        message=f"not published: {note}",
        severity=WarningSeverity.Medium,
        remediation="Enable the target `triton` or `nim` to publish modules, and set"
        " omniverse_config.package_as_extension to publish the extension.",
    )


def _with_script(job: Job, result: TargetResult, plan: PublishingPlan, error: StageError) -> TargetResult:
    """`result` with the error, and with the script that publishes everything in `plan`."""
    from .script import publishing_script

    engine = engine_program(job.spec.container_config.runtime)
    added = OutputTree()
    added.merge(result.added)
    added.text(PUBLISH_SCRIPT, publishing_script(plan, engine), executable=True)
    error.steps = (
        f"portalis publish {job.output} --registry {plan.address}",
        f"or {job.final(PUBLISH_SCRIPT)}, which requires {engine} and oras",
    )
    return dataclasses.replace(result, errors=(*result.errors, error), added=added)


def _stage_error(address: Address, error: PortalisError) -> StageError:
    return StageError(
        ErrorType.PublishingError,
        error.message,
        remediation=error.remediation,
        details=PublishingError(registry_url=str(address), push_errors=(error.message,)),
    )
