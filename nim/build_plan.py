"""Plans the image builds of a package: one image per module or one for all modules, each with its build context."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from ..engines.build_context import BuildContext
from ..engines.engine_commands import build_command
from ..images import PlannedImage, planned_image, planned_images
from ..spec.container import WasmRuntime
from ..target import Job, Module
from .ensembles_of_spec import EnsemblesOfSpec, ensembles_of_spec
from .model_labels import with_labels
from .model_sequences import sequence_problem
from .service.settings import ModelSettings
from .service_context import ImageLabels, build_context
from .wasm_runtimes import RuntimeFiles, find_runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBuild:
    """An image to build: its build context, and the modules that it serves."""

    image: PlannedImage
    modules: tuple[Module, ...]
    context: BuildContext

    def manual_command(self, job: Job) -> str:
        """The shell command that builds the image from its context in the output directory."""
        runtime, folder = job.spec.container_config.runtime, job.final(self.image.folder)
        return shlex.join(build_command(runtime, self.image.reference, folder, self.context.arguments))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unservable:
    """The reason that the service cannot run a module."""

    reason: str
    remediation: str


def unservable(job: Job, module: Module) -> Unservable | None:
    """The reason that no image contains `module`; None if an image contains it."""
    interface, runtime = module.inspection.interface, job.spec.container_config.wasm_runtime
    for finding in module.inspection.findings("image"):
        # another runtime may support proposals that Wasmtime lacks, but imports and limits are the service's own
        if runtime is WasmRuntime.Wasmtime or finding.kind == "import" or finding.limit:
            return Unservable(reason=finding.why, remediation=finding.remediation)
    if interface is None:
        return Unservable(
            reason=module.inspection.no_interface or "its interface is not known",
            remediation=f"Declare the interface of {module.name} in the spec, or write it into the module with"
            " `portalis annotate`.",
        )
    config = job.spec.triton_for(module.binary)
    if problem := sequence_problem(config):
        return Unservable(reason=problem, remediation="Serve the model repository with Triton, or omit the key.")
    if runtime is not WasmRuntime.Wasmtime and config.sequence_batching is not None:
        return Unservable(
            reason=f"it has sequences, and {runtime.value} keeps no state between requests",
            remediation="Omit container_config.wasm_runtime: Wasmtime runs stateful modules.",
        )
    if runtime is not WasmRuntime.Wasmtime and interface.convention.value != "command":
        return Unservable(
            reason=f"its convention is {interface.convention.value}, and {runtime.value} runs commands only",
            remediation="Omit container_config.wasm_runtime: Wasmtime runs modules of every convention.",
        )
    return None


def plan_builds(job: Job) -> tuple[PlannedBuild, ...]:
    """The builds for all servable modules.

    Raises InputProblems if the configuration is invalid, and MissingPart if the configured runtime is not available.
    """
    spec, modules = job.spec, tuple(module for module in job.modules if unservable(job, module) is None)
    if not modules:
        return ()
    runtime, labels = find_runtime(spec.container_config), _image_labels(job)
    if spec.container_config.package_image:
        return (_planned_build(job, planned_images(spec)[0], modules, runtime, labels),)
    return tuple(
        _planned_build(job, planned_image(spec, module.binary), (module,), runtime, labels) for module in modules
    )


def image_ensembles(job: Job) -> EnsemblesOfSpec:
    """The ensembles in the images of a package. An image of a single module contains none."""
    if not job.spec.container_config.package_image:
        reason = "an image of one module serves this module only"
        return EnsemblesOfSpec(skipped={ensemble.name: reason for ensemble in job.spec.triton_config.ensembles})
    return ensembles_of_spec(job.spec, [module.name for module in job.modules if unservable(job, module) is None])


def _planned_build(
    job: Job, image: PlannedImage, modules: tuple[Module, ...], runtime: RuntimeFiles | None, labels: ImageLabels
) -> PlannedBuild:
    models: list[tuple[ModelSettings, Path]] = []
    ensembles = image_ensembles(job)
    label_files = dict(ensembles.label_files)
    for module in modules:
        model, files = with_labels(_model(module), job.spec, module.binary)
        models.append((model, module.path))
        label_files |= files
    context = build_context(
        job.spec.container_config,
        models=models,
        labels=labels,
        label_files=label_files,
        runtime=runtime,
        ensembles=ensembles.settings,
    )
    return PlannedBuild(image=image, modules=modules, context=context)


def _model(module: Module) -> ModelSettings:
    declared = module.binary.interface.model_dump(mode="json", exclude_none=True)
    return ModelSettings(name=module.name, file=f"{module.name}.wasm", interface=declared)


def _image_labels(job: Job) -> ImageLabels:
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
