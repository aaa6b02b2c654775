"""The packaging target for service images: they are built by a container engine and smoke tested."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..contracts.errors import ErrorType, NimGenerationError
from ..contracts.output import Artifacts, PackagingWarning, WarningSeverity
from ..engines.errors import EngineUnavailable
from ..errors import MissingPart
from ..images import planned_image
from ..output import CopiedFile, OutputTree
from ..problems import Problem
from ..spec import PackageSpec
from ..target import Job, Module, StageError, TargetResult
from .build_plan import PlannedBuild, Unservable, image_ensembles, plan_builds, unservable
from .builds import BuildResult, build_image
from .container_checks import name_problems
from .image_pins import unverified_pins
from .service_context import image_context_problems


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTargetResult(TargetResult):
    """The build contexts as files, and the builds that `run` carries out."""

    builds: tuple[PlannedBuild, ...]


def skip_reason(spec: PackageSpec) -> str | None:
    """The reason for building no images; None if the spec enables them."""
    return None if spec.enable_nim_packaging else "enable_nim_packaging is false"


def spec_problems(spec: PackageSpec) -> Iterable[Problem]:
    """Settings and names that an image cannot have."""
    yield from image_context_problems(spec.container_config)
    yield from name_problems(spec)


def generate(job: Job) -> ImageTargetResult:
    """Write the build context of each image, from which users can also build it manually."""
    tree = OutputTree()
    errors = tuple(
        _excluded_module(job, module, cause) for module in job.modules if (cause := unservable(job, module)) is not None
    )
    try:
        builds = plan_builds(job)
    except MissingPart as missing:
        skipped = f"{missing.message}. {missing.remediation}"
        return ImageTargetResult(builds=(), skipped=skipped, errors=(*errors, _missing_runtime(job, missing)))
    if not builds:
        raise errors[0]
    for build in builds:
        for path, content in build.context.files.items():
            tree.add(build.image.folder / path, content if isinstance(content, bytes) else CopiedFile(path=content))
    return ImageTargetResult(tree=tree, errors=errors, builds=builds, warnings=tuple(_warnings(job)))


def run(job: Job, made: TargetResult) -> TargetResult:
    """Build, test, inspect and export the images. Without an engine only the contexts are produced."""
    assert isinstance(made, ImageTargetResult)
    try:
        from ..engines.container_engine import ContainerEngine

        engine = ContainerEngine.find(job.spec.container_config.runtime)
    except MissingPart as missing:
        return replace(made, errors=(*made.errors, _missing_engine(job, made.builds, missing)))
    results = []
    with engine:
        job.report(engine.version())
        for build in made.builds:
            result = build_image(engine, job, build)
            results.append(result)
            if result.error is not None and job.spec.fail_on_partial_errors:
                break
    return _with_results(made, results)


def _with_results(made: ImageTargetResult, results: Sequence[BuildResult]) -> TargetResult:
    artifacts = tuple(result.artifact for result in results if result.artifact is not None)
    errors = tuple(result.error for result in results if result.error is not None)
    added = OutputTree()
    for result in results:
        added.merge(result.added)
    return replace(
        made,
        artifacts=Artifacts(nim_containers=artifacts),
        errors=(*made.errors, *errors),
        warnings=(*made.warnings, *(warning for result in results for warning in result.warnings)),
        validation_results=tuple(result.validation for result in results if result.validation is not None),
        added=added,
        tool_outputs=tuple(path for result in results for path in result.files),
    )


def _warnings(job: Job) -> Iterable[PackagingWarning]:
    spec = job.spec
    package = spec.container_config.package_image
    for name, reason in image_ensembles(job).skipped.items():
        yield PackagingWarning(
            message=f"no image serves the ensemble {name!r} of the spec: {reason}",
            severity=WarningSeverity.Low,
            remediation="Change the ensemble, or serve the model repository with Triton."
            if package
            else "Set container_config.package_image = true for one image with all modules and ensembles, or serve the"
            " model repository with Triton: it includes them.",
        )
    for pin in unverified_pins(spec.container_config):
        yield PackagingWarning(
            message=f"the images install {pin} without verifying its hash, which portalis does not know",
            severity=WarningSeverity.Medium,
            remediation="Omit container_config.wasm_runtime_version, or set container_config.wheelhouse to a directory"
            " of trusted wheels.",
        )


def _excluded_module(job: Job, module: Module, cause: Unservable) -> StageError:
    reference = planned_image(job.spec, module.binary).reference
    package = job.spec.container_config.package_image
    message = f"{module.name} is not in the image {reference}" if package else f"no image {reference} was built"
    return StageError(
        ErrorType.ContainerBuildError,
        f"{message}: {cause.reason}",
        remediation=cause.remediation,
        details=NimGenerationError(failed_containers=(reference,)),
    )


def _missing_runtime(job: Job, missing: MissingPart) -> StageError:
    # images with a different runtime than the requested one would be of no use
    references = dict.fromkeys(planned_image(job.spec, module.binary).reference for module in job.modules)
    return StageError(
        ErrorType.ContainerBuildError,
        f"no image was built: {missing.message}",
        remediation=missing.remediation,
        details=NimGenerationError(failed_containers=tuple(references), docker_errors=(missing.message,)),
    )


def _missing_engine(job: Job, builds: Sequence[PlannedBuild], missing: MissingPart) -> StageError:
    return StageError(
        ErrorType.ContainerBuildError,
        f"no image was built: {missing.message}",
        remediation=missing.remediation or "Install Docker or Podman, and package again.",
        no_engine=isinstance(missing, EngineUnavailable),
        steps=[build.manual_command(job) for build in builds],
        details=NimGenerationError(
            failed_containers=tuple(build.image.reference for build in builds), docker_errors=(missing.message,)
        ),
    )
