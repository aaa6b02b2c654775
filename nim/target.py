"""The packaging target: a service image for each module, built by a real engine and tried before it is called made."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath

from ..contracts.errors import ErrorType, NimGenerationError
from ..contracts.output import Artifacts
from ..errors import MissingPart
from ..output import OutputTree, Source
from ..problems import Problem
from ..spec import PackageSpec
from ..spec.names import image_folder, image_of
from ..target import Job, Made, Module, StageError
from .builds import Build, build_image
from .context import About, Context, build_context
from .dockerfile import problems as dockerfile_problems
from .names import name_problems
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
    servable = [module for module in job.modules if module.inspection.interface is not None]
    errors = tuple(_not_servable(job, module) for module in job.modules if module.inspection.interface is None)
    if not servable:
        raise errors[0]
    for module in servable:
        for path, content in _context(job, module).files.items():
            file = content if isinstance(content, bytes) else Source(path=content)
            tree.add(image_folder(job.spec, module.binary) / path, file)
    return Made(tree=tree, errors=errors)


def act(job: Job, made: Made) -> Made:
    """Build, inspect, export and try the images. Without an engine the contexts stay, and no container is made."""
    try:
        from .engine import Engine

        engine = Engine.find(job.spec.container_config.runtime)
    except MissingPart as problem:
        return replace(made, errors=(*made.errors, _unavailable(job, problem)))
    artifacts, errors, adopted = [], list(made.errors), list[PurePosixPath]()
    with engine:
        job.say(engine.version())
        for module in job.modules:
            if module.inspection.interface is None:
                continue  # `generate` has told
            build = Build(job=job, engine=engine, module=module, arguments=_context(job, module).arguments)
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


def _not_servable(job: Job, module: Module) -> StageError:
    """The service has to know a module's inputs and outputs before it can call it."""
    image = ":".join(image_of(job.spec, module.binary))
    why = module.inspection.no_interface or "its interface is not known"
    return StageError(
        ErrorType.ContainerBuildError,
        f"no image {image} was built: {why}",
        remediation=f"Declare the interface of {module.name} in the spec, or write it into the module with"
        " `portalis annotate`.",
        details=NimGenerationError(failed_containers=(image,)),
    )


def _unavailable(job: Job, problem: MissingPart) -> StageError:
    modules = [module for module in job.modules if module.inspection.interface is not None]
    images = tuple(":".join(image_of(job.spec, module.binary)) for module in modules)
    return StageError(
        ErrorType.ContainerBuildError,
        f"no image was built: {problem.message}",
        remediation=problem.remediation or "Install Docker or Podman, and package again.",
        steps=[_by_hand(job, module) for module in modules],
        details=NimGenerationError(failed_containers=images, docker_errors=(problem.message,)),
    )


def _by_hand(job: Job, module: Module) -> str:
    """The command that builds an image from its context in the output directory."""
    image = ":".join(image_of(job.spec, module.binary))
    values = [f"{name}={value}" for name, value in _context(job, module).arguments.items()]
    arguments = [word for value in values for word in ("--build-arg", value)]
    return shlex.join(["docker", "build", *arguments, "-t", image, job.final(image_folder(job.spec, module.binary))])


def _context(job: Job, module: Module) -> Context:
    config = job.spec.container_config
    return build_context(config, models=[(_model(module), module.path)], about=_about(job))
