"""What things made of a package are called, and where they lie in the output directory; every target goes by it."""

from __future__ import annotations

from pathlib import PurePosixPath

from .package_spec import PackageSpec, WasmBinaryPath

CONTAINERS = PurePosixPath("containers")


def model_name(spec: PackageSpec, module: WasmBinaryPath) -> str:
    """The module's own ``model_name``; the package's, for its only module; else package and module."""
    own = module.triton_config.model_name if module.triton_config is not None else None
    alone = spec.triton_config.model_name if len(spec.wasm_binaries) == 1 else None
    return own or alone or f"{spec.package_name}_{module.module_name}"


def model_folder(spec: PackageSpec, name: str) -> PurePosixPath:
    """The folder of the Triton model `name`, relative to the output directory."""
    return PurePosixPath(spec.triton_config.model_repository_path) / name


def _tag(spec: PackageSpec) -> str:
    # a version may have a plus, and a tag may not
    return spec.container_config.image_tag or spec.package_version.replace("+", "-")


def image_of(spec: PackageSpec, module: WasmBinaryPath) -> tuple[str, str]:
    """Name and tag: the given name for a package's only module, else the package's (or the given) and the module's."""
    config = spec.container_config
    alone = config.image_name if len(spec.wasm_binaries) == 1 else None
    name = alone or f"{config.image_name or spec.package_name}-{module.module_name}"
    return name, _tag(spec)


def image_folder(spec: PackageSpec, module: WasmBinaryPath) -> PurePosixPath:
    """The build context of a module's image, relative to the output directory."""
    return CONTAINERS / image_of(spec, module)[0].rpartition("/")[2]


def package_image_of(spec: PackageSpec) -> tuple[str, str]:
    """Name and tag of the one image with all modules: the given name, else the package's."""
    return spec.container_config.image_name or spec.package_name, _tag(spec)


def package_image_folder(spec: PackageSpec) -> PurePosixPath:
    """The build context of the image with all modules, relative to the output directory."""
    return CONTAINERS / package_image_of(spec)[0].rpartition("/")[2]
