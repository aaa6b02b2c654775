"""Jobs from real modules, like those that the pipeline passes to targets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import wasmtime

from portalis.contracts.artifacts import ContainerArtifact, HealthCheckConfig, TritonModelArtifact
from portalis.contracts.output import Artifacts
from portalis.contracts.package_manifest import PackageManifest
from portalis.images import PlannedImage, planned_images
from portalis.inspection import inspect_module
from portalis.output import Written
from portalis.spec import PackageSpec
from portalis.spec.container import ContainerConfiguration
from portalis.spec.package_spec import WasmBinaryPath
from portalis.target import Job, Module

OUTPUT = Path("/package")
DIGEST = "0" * 64
ADD = '(module (func (export "add") (param $a f32) (param $b f32) (result f32) (f32.add (local.get 0) (local.get 1))))'


def wasm(folder: Path, name: str = "add", wat: str = ADD) -> Path:
    path = folder / f"{name}.wasm"
    path.write_bytes(wasmtime.wat2wasm(wat))
    return path


def job(binaries: Iterable[WasmBinaryPath], *, containers: bool = True, triton: bool = True, **spec: Any) -> Job:
    """A job in which every module has an image and a Triton model."""
    fields = {"package_name": "demo", "package_version": "1.2.0", "output_directory": OUTPUT, **spec}
    given = PackageSpec(wasm_binaries=tuple(binaries), **fields)
    modules = tuple(
        Module(
            name=each.module_name,
            path=each.path,
            binary=each,
            inspection=inspect_module(each.path, each.interface.model_dump(exclude_none=True)),
        )
        for each in given.wasm_binaries
    )
    config = given.container_config
    made = Artifacts(
        nim_containers=tuple(_container(config, image) for image in planned_images(given)) if containers else (),
        triton_models=tuple(_triton(given, module) for module in modules) if triton else (),
    )
    return of(given, modules, made)


def of(spec: PackageSpec, modules: tuple[Module, ...], made: Artifacts) -> Job:
    repository = PurePosixPath(spec.triton_config.model_repository_path)
    paths = [repository / model.model_name / "config.pbtxt" for model in made.triton_models]
    return Job(
        spec=spec,
        modules=modules,
        output=OUTPUT,
        staging=OUTPUT,
        previous=None,
        artifacts=made,
        files={path: Written(path=path, size_bytes=100, sha256=DIGEST) for path in paths},
        manifest=_no_manifest,
        created_at="2026-01-01T00:00:00Z",
        live=False,
        report=lambda line: None,
    )


def _no_manifest() -> PackageManifest:
    return never()


def never() -> NoReturn:
    raise AssertionError("no target of these tests asks for the manifest")


def _container(config: ContainerConfiguration, image: PlannedImage) -> ContainerArtifact:
    return ContainerArtifact(
        image_name=image.name,
        image_tag=image.tag,
        image_id=f"sha256:{DIGEST}",
        image_size_bytes=1,
        dockerfile_path="/package/Dockerfile",
        created_at="2026-01-01T00:00:00Z",
        base_image=config.base_image,
        layers=(),
        health_check_config=HealthCheckConfig(
            endpoint=config.health_check_endpoint,
            interval_seconds=config.health_check_interval,
            timeout_seconds=config.health_check_timeout,
            retries=config.health_check_retries,
        ),
        exposed_ports=(config.service_port, config.grpc_port, config.metrics_port),
        environment_vars=config.environment_vars,
        image_digest=f"sha256:{DIGEST}",
    )


def _triton(spec: PackageSpec, module: Module) -> TritonModelArtifact:
    alone = spec.triton_config.model_name if len(spec.wasm_binaries) == 1 else None
    name = alone or f"{spec.package_name}_{module.name}"
    folder = OUTPUT / spec.triton_config.model_repository_path / name
    interface = module.inspection.interface
    return TritonModelArtifact(
        model_name=name,
        model_version=1,
        model_repository_path=str(folder),
        config_pbtxt_path=str(folder / "config.pbtxt"),
        wasm_model_paths=(str(folder / "1" / "model.wasm"),),
        platform="wasm",
        max_batch_size=interface.max_batch_size if interface is not None else 0,
        instance_count=1,
        validated=False,
    )
