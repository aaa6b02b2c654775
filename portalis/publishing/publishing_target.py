"""The last target: publishing what the others made. What fails leaves all of it, and a script to go on by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ..contracts.errors import ErrorType, PublishingError
from ..contracts.output import PackagingWarning, WarningSeverity
from ..engines.engine_commands import engine_program
from ..errors import PortalisError, UsageError
from ..oci import address as addresses
from ..oci import credentials
from ..oci.address import Address
from ..problems import Problem
from ..spec import PackageSpec
from ..target import Job, StageError, TargetResult

if TYPE_CHECKING:
    from .published_package import Package
    from .publishing_plan import PublishingPlan


def skip_reason(spec: PackageSpec) -> str | None:
    """Why nothing is published."""
    return None if spec.publish_to_registry else "publish_to_registry is false"


def spec_problems(spec: PackageSpec) -> Iterable[Problem]:
    """A registry's URL that is none."""
    if not spec.publish_to_registry or spec.registry_url is None:
        return
    try:
        addresses.parse(spec.registry_url)
    except UsageError as problem:
        yield Problem(where="registry_url", message=problem.message, remediation=problem.remediation)


def generate(job: Job) -> TargetResult:
    """Nothing: publishing makes no file, but where it fails."""
    return TargetResult()


def run(job: Job, made: TargetResult) -> TargetResult:
    """Publish. What was not published is an error of `made`, with a script for all of it; what was is told as well.
    Raises StageError where nothing can be published, and MissingPart without an HTTP client."""
    from .publication import carry_out, failure_of
    from .publishing_plan import make_plan

    address = addresses.parse(job.spec.registry_url or "")
    try:
        plan = make_plan(_package(job), address)
    except PortalisError as problem:
        raise _error(address, problem) from None
    if not plan.images and not plan.artifacts:
        why = UsageError("there is nothing to publish", remediation="Enable a target that makes something.")
        raise _error(address, why)
    made = dataclasses.replace(made, warnings=(*made.warnings, *map(_not_published, plan.notes)))
    try:
        login = credentials.find(address)
    except PortalisError as problem:
        return _failed(job, made, plan, _error(address, problem))
    outcome = carry_out(plan, login, runtime=job.spec.container_config.runtime, say=job.say)
    made = dataclasses.replace(made, published=(*made.published, *outcome.published))
    return _failed(job, made, plan, failure_of(plan, outcome)) if outcome.failures else made


def _not_published(note: str) -> PackagingWarning:
    return PackagingWarning(
        message=f"not published: {note}",
        severity=WarningSeverity.Medium,
        remediation="A module is published from a model or an image context, an extension from its archive"
        " (omniverse_config.package_as_extension).",
    )


def _package(job: Job) -> Package:
    from .published_package import Package

    return Package(
        manifest=job.manifest(),
        artifacts=job.made,
        folder=job.staging,
        root=PurePosixPath(job.output),
        files={path: file.sha256 for path, file in job.files.items()},
        modules={module.name: module.path for module in job.modules},
    )


def _failed(job: Job, made: TargetResult, plan: PublishingPlan, error: StageError) -> TargetResult:
    from ..output.package_layout import PUBLISH_SCRIPT
    from .script import write_script

    engine = engine_program(job.spec.container_config.runtime)
    write_script(plan, job.staging, engine)
    error.steps = (
        f"portalis publish {job.output} --registry {plan.address}",
        f"{job.final(PUBLISH_SCRIPT)} publishes by hand, with {engine} and oras",
    )
    return dataclasses.replace(
        made, errors=(*made.errors, error), tool_outputs=(*made.tool_outputs, PurePosixPath(PUBLISH_SCRIPT))
    )


def _error(address: Address, problem: PortalisError) -> StageError:
    return StageError(
        ErrorType.PublishingError,
        problem.message,
        remediation=problem.remediation,
        details=PublishingError(registry_url=str(address), push_errors=(problem.message,)),
    )
