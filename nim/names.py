"""What the images of a package are called, and where their build contexts lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from pydantic import ValidationError

from ..naming import oci_tag_trouble, oci_trouble
from ..problems import Problem
from ..spec import PackageSpec, WasmBinaryPath
from .service.settings import ModelSettings

FOLDER = "containers"


def image_of(spec: PackageSpec, module: WasmBinaryPath) -> tuple[str, str]:
    """Name and tag: the given name for a package's only module, else the package's (or the given) and the module's."""
    config = spec.container_config
    alone = config.image_name if len(spec.wasm_binaries) == 1 else None
    name = alone or f"{config.image_name or spec.package_name}-{module.module_name}"
    # a version may have a plus, and a tag may not
    return name, config.image_tag or spec.package_version.replace("+", "-")


def folder_of(spec: PackageSpec, module: WasmBinaryPath) -> PurePosixPath:
    """The build context of a module's image, relative to the output directory."""
    return PurePosixPath(FOLDER) / image_of(spec, module)[0].rpartition("/")[2]


def name_problems(spec: PackageSpec) -> Iterator[Problem]:
    """Names that no registry takes for an image, or that the service does not take for a model."""
    for i, module in enumerate(spec.wasm_binaries):
        name, tag = image_of(spec, module)
        trouble = oci_trouble(name)
        if trouble:
            yield Problem(
                where=f"wasm_binaries[{i}].name",
                message=f"the name of the image, {name!r}, {trouble}",
                remediation="Rename the package or the module, or set container_config.image_name.",
            )
        if i == 0 and (trouble := oci_tag_trouble(tag)):
            yield Problem(where="container_config.image_tag", message=f"{tag!r} {trouble}")
        try:
            ModelSettings(name=module.module_name, file=f"{module.module_name}.wasm")
        except ValidationError as error:
            yield Problem(
                where=f"wasm_binaries[{i}].name",
                message=f"the service cannot call a model {module.module_name!r}: {error.errors()[0]['msg']}",
                remediation="Give the module another `name`.",
            )
