"""The packaging target: a service image for each module, built by a real engine and tried before it is called made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath

from ..contracts.errors import ErrorType, NimGenerationError
from ..contracts.output import Artifacts
from ..errors import MissingPart
from ..output import OutputTree, Source
from ..problems import Problem
from ..spec import PackageSpec
from ..target import Job, Made, Module, StageError
from .builds import Build, build_image
from .context import About, build_context
from .dockerfile import problems as dockerfile_problems
from .names import folder_of, image_of, name_problems
from .service.settings import ModelSettings


def left_out(spec: PackageSpec) -> str | None:
    """Why there are no containers."""
    return None if spec.enable_nim_packaging else "enable_nim_packaging is false"


def problems(spec: PackageSpec) -> Iterable[Problem]:
    """What no image can be made with or named by."""
    yield from dockerfile_problems(spec.container_config)
    yield from name_problems(spec)


def generate(job: Job) -> Made:
    """The build context of each module's image: whoever has an engine can build it by hand, too."""
    tree = OutputTree()
    for module in job.modules:
        context = build_context(job.spec.container_config, model=_model(module), module=module.path, about=_about(job))
        for path, content in context.files.items():
            file = content if isinstance(content, bytes) else Source(path=content)
            tree.add(folder_of(job.spec, module.binary) / path, file)
    return Made(tree=tree)


def act(job: Job, made: Made) -> Made:
    """Build, inspect, export and try the images. Without an engine the contexts stay, and no container is made."""
    try:
        from .engine import Engine

        engine = Engine.find(job.spec.container_config.runtime)
    except MissingPart as problem:
        return replace(made, errors=(_unavailable(job, problem),))
    artifacts, errors, adopted = [], [], list[PurePosixPath]()
    with engine:
        job.say(engine.version())
        for module in job.modules:
            context = build_context(
                job.spec.container_config, model=_model(module), module=module.path, about=_about(job)
            )
            build = Build(job=job, engine=engine, module=module, arguments=context.arguments)
            try:
                artifact, files = build_image(build)
            except StageError as error:
                errors.append(error)
                continue
            artifacts.append(artifact)
            adopted += files
    return replace(
        made, artifacts=Artifacts(nim_containers=tuple(artifacts)), errors=tuple(errors), adopted=tuple(adopted)
    )


def _model(module: Module) -> ModelSettings:
    declared = module.binary.interface.model_dump(mode="json", exclude_none=True)
    return ModelSettings(name=module.name, file=f"{module.name}.wasm", interface=declared)


def _about(job: Job) -> About:
    spec, distribution = job.spec, job.spec.distribution_config
    return About(
        package=spec.package_name,
        version=spec.package_version,
        description=spec.description,
        licenses=distribution.license_type or "",
        source=distribution.publish_metadata.repository or "",
    )


def _unavailable(job: Job, problem: MissingPart) -> StageError:
    images = tuple(":".join(image_of(job.spec, module.binary)) for module in job.modules)
    return StageError(
        ErrorType.ContainerBuildError,
        f"no image was built: {problem.message}",
        remediation=problem.remediation or "Install Docker or Podman, and package again.",
        steps=[
            f"docker build -t {image} {job.final(folder_of(job.spec, module.binary))}"
            for image, module in zip(images, job.modules)
        ],
        details=NimGenerationError(failed_containers=images, docker_errors=(problem.message,)),
    )
