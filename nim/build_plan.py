"""Which images a package comes to, one for each module or one for all, each with its build context."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..engines.build_context import BuildContext
from ..engines.engine_commands import build_command
from ..spec.artifact_names import image_folder, image_of, package_image_folder, package_image_of
from ..spec.container import WasmRuntime
from ..target import Job, Module
from .service.settings import ModelSettings
from .service_context import ImageLabels, build_context
from .wasm_runtimes import RuntimeFiles, find_runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage:
    """An image that is to be built. `folder` is its build context's, relative to the output directory."""

    name: str
    tag: str
    folder: PurePosixPath
    modules: tuple[Module, ...]
    context: BuildContext

    @property
    def reference(self) -> str:
        """What an engine calls it."""
        return f"{self.name}:{self.tag}"

    def by_hand(self, job: Job) -> str:
        """The command that builds it from its context in the output directory."""
        runtime, folder = job.spec.container_config.runtime, job.final(self.folder)
        return shlex.join(build_command(runtime, self.reference, folder, self.context.arguments))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unservable:
    """Why the service cannot call a module, and what to do about it."""

    why: str
    remediation: str


def unservable(job: Job, module: Module) -> Unservable | None:
    """Why there is no image with `module`; None where there is."""
    interface, runtime = module.inspection.interface, job.spec.container_config.wasm_runtime
    for each in module.inspection.findings("image"):
        # another runtime may have the proposals that ours leaves out, but gives a guest the same host
        if runtime is WasmRuntime.Wasmtime or each.kind == "import" or each.limit:
            return Unservable(why=each.why, remediation=each.remediation)
    if interface is None:
        return Unservable(
            why=module.inspection.no_interface or "its interface is not known",
            remediation=f"Declare the interface of {module.name} in the spec, or write it into the module with"
            " `portalis annotate`.",
        )
    if runtime is not WasmRuntime.Wasmtime and interface.convention.value != "command":
        return Unservable(
            why=f"its convention is {interface.convention.value}, and {runtime.value} runs commands only",
            remediation="Leave container_config.wasm_runtime out: Wasmtime runs all modules.",
        )
    return None


def plan(job: Job) -> tuple[PlannedImage, ...]:
    """The images of all modules that are servable. Raises what `build_context` raises, and MissingPart where the
    runtime that is asked for is not to be had."""
    spec, modules = job.spec, tuple(module for module in job.modules if unservable(job, module) is None)
    if not modules:
        return ()
    runtime, about = find_runtime(spec.container_config), _about(job)
    if spec.container_config.package_image:
        return (_planned(job, *package_image_of(spec), package_image_folder(spec), modules, runtime, about),)
    return tuple(
        _planned(job, *image_of(spec, module.binary), image_folder(spec, module.binary), (module,), runtime, about)
        for module in modules
    )


def reference_of(job: Job, module: Module) -> str:
    """The image that the module is in, or would be."""
    package = job.spec.container_config.package_image
    return ":".join(package_image_of(job.spec) if package else image_of(job.spec, module.binary))


def _planned(
    job: Job,
    name: str,
    tag: str,
    folder: PurePosixPath,
    modules: tuple[Module, ...],
    runtime: RuntimeFiles | None,
    about: ImageLabels,
) -> PlannedImage:
    models = [(_model(module), module.path) for module in modules]
    context = build_context(job.spec.container_config, models=models, about=about, runtime=runtime)
    return PlannedImage(name=name, tag=tag, folder=folder, modules=modules, context=context)


def _model(module: Module) -> ModelSettings:
    declared = module.binary.interface.model_dump(mode="json", exclude_none=True)
    return ModelSettings(name=module.name, file=f"{module.name}.wasm", interface=declared)


def _about(job: Job) -> ImageLabels:
    spec, distribution = job.spec, job.spec.distribution_config
    published = distribution.publish_metadata
    return ImageLabels(
        package=spec.package_name,
        version=spec.package_version,
        description=spec.description,
        licenses=distribution.license_type or "",
        license_text=text.read_text(errors="replace") if (text := distribution.license_file) is not None else "",
        source=published.repository or "",
        authors=published.author or published.maintainer,
        url=published.homepage or "",
        documentation=published.documentation_url or "",
    )
