"""The packaging target: service images, built by a real engine and tried before they are called made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..contracts.errors import ErrorType, NimGenerationError
from ..contracts.output import Artifacts, PackagingWarning, WarningSeverity
from ..engines.errors import EngineUnavailable
from ..errors import MissingPart
from ..images import planned_image
from ..output import OutputTree, Source
from ..problems import Problem
from ..spec import PackageSpec
from ..target import Job, Module, StageError, TargetResult
from .build_plan import PlannedBuild, Unservable, plan_builds, unservable
from .builds import Result, build_image
from .container_checks import name_problems
from .image_pins import unverified_pins
from .service_context import image_context_problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Contexts(TargetResult):
    """The build contexts, and the images that are to be built from them."""

    builds: tuple[PlannedBuild, ...]


def skip_reason(spec: PackageSpec) -> str | None:
    """Why there are no containers."""
    return None if spec.enable_nim_packaging else "enable_nim_packaging is false"


def spec_problems(spec: PackageSpec) -> Iterable[Problem]:
    """What no image can be made with or named by."""
    yield from image_context_problems(spec.container_config)
    yield from name_problems(spec)


def generate(job: Job) -> Contexts:
    """The build context of each image: whoever has an engine can build it by hand, too."""
    tree = OutputTree()
    errors = tuple(_not_servable(job, module, why) for module in job.modules if (why := unservable(job, module)))
    try:
        builds = plan_builds(job)
    except MissingPart as missing:
        return Contexts(
            builds=(), skipped=f"{missing.message}. {missing.remediation}", errors=(*errors, _lost(job, missing))
        )
    if not builds:
        raise errors[0]
    for build in builds:
        for path, content in build.context.files.items():
            tree.add(build.image.folder / path, content if isinstance(content, bytes) else Source(path=content))
    return Contexts(tree=tree, errors=errors, builds=builds, warnings=tuple(_warnings(job.spec)))


def run(job: Job, made: TargetResult) -> TargetResult:
    """Build, try, inspect and export the images. Without an engine the contexts stay, and no container is made."""
    assert isinstance(made, Contexts)
    try:
        from ..engines.container_engine import ContainerEngine

        engine = ContainerEngine.find(job.spec.container_config.runtime)
    except MissingPart as problem:
        return replace(made, errors=(*made.errors, _unavailable(job, made.builds, problem)))
    results = []
    with engine:
        job.say(engine.version())
        for build in made.builds:
            result = build_image(engine, job, build)
            results.append(result)
            if result.error is not None and job.spec.fail_on_partial_errors:
                break
    return _together(made, results)


def _together(made: Contexts, results: Iterable[Result]) -> TargetResult:
    """`made`, and what has become of its images."""
    results = tuple(results)
    artifacts = tuple(result.artifact for result in results if result.artifact is not None)
    errors = tuple(result.error for result in results if result.error is not None)
    return replace(
        made,
        artifacts=Artifacts(nim_containers=artifacts),
        errors=(*made.errors, *errors),
        warnings=(*made.warnings, *(warning for result in results for warning in result.warnings)),
        validation_results=tuple(result.tried for result in results if result.tried is not None),
        tool_outputs=tuple(path for result in results for path in result.files),
    )


def _warnings(spec: PackageSpec) -> Iterable[PackagingWarning]:
    if ensembles := [ensemble.name for ensemble in spec.triton_config.ensembles]:
        yield PackagingWarning(
            message=f"no image has the ensembles of the spec ({', '.join(ensembles)}): a service runs single modules",
            severity=WarningSeverity.Low,
            remediation="Serve the model repository for Triton, which has them.",
        )
    for pin in unverified_pins(spec.container_config):
        yield PackagingWarning(
            message=f"the images install {pin} without a check of its hash, which portalis does not know",
            severity=WarningSeverity.Medium,
            remediation="Leave container_config.wasm_runtime_version out, or set container_config.wheelhouse to a"
            " folder of wheels that you trust.",
        )


def _not_servable(job: Job, module: Module, found: Unservable) -> StageError:
    reference = planned_image(job.spec, module.binary).reference
    package = job.spec.container_config.package_image
    message = f"{module.name} is not in the image {reference}" if package else f"no image {reference} was built"
    return StageError(
        ErrorType.ContainerBuildError,
        f"{message}: {found.why}",
        remediation=found.remediation,
        details=NimGenerationError(failed_containers=(reference,)),
    )


def _lost(job: Job, missing: MissingPart) -> StageError:
    """The runtime that the images are to have is not there, and they are made with no other."""
    references = dict.fromkeys(planned_image(job.spec, module.binary).reference for module in job.modules)
    return StageError(
        ErrorType.ContainerBuildError,
        f"no image was built: {missing.message}",
        remediation=missing.remediation,
        details=NimGenerationError(failed_containers=tuple(references), docker_errors=(missing.message,)),
    )


def _unavailable(job: Job, builds: Sequence[PlannedBuild], problem: MissingPart) -> StageError:
    return StageError(
        ErrorType.ContainerBuildError,
        f"no image was built: {problem.message}",
        remediation=problem.remediation or "Install Docker or Podman, and package again.",
        no_engine=isinstance(problem, EngineUnavailable),
        steps=[build.manual_command(job) for build in builds],
        details=NimGenerationError(
            failed_containers=tuple(build.image.reference for build in builds), docker_errors=(problem.message,)
        ),
    )
