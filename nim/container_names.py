"""Which names of images and of their models are refused."""

from __future__ import annotations

from collections.abc import Iterator

from ..naming import oci_tag_trouble, oci_trouble, service_trouble
from ..problems import Problem
from ..spec import PackageSpec
from ..spec.artifact_names import image_of, package_image_of


def name_problems(spec: PackageSpec) -> Iterator[Problem]:
    """Names that no registry takes for an image, or that the service does not take for a model."""
    package = spec.container_config.package_image
    if package:
        given = spec.container_config.image_name is not None
        where = "container_config.image_name" if given else "package_name"
        yield from _image_problems(where, *package_image_of(spec))
    for i, module in enumerate(spec.wasm_binaries):
        if not package:
            yield from _image_problems(f"wasm_binaries[{i}].name", *image_of(spec, module), first=i == 0)
        if trouble := service_trouble(module.module_name):
            yield Problem(
                where=f"wasm_binaries[{i}].name",
                message=f"{module.module_name!r} {trouble}",
                remediation="Give the module another `name`.",
            )


def _image_problems(where: str, name: str, tag: str, *, first: bool = True) -> Iterator[Problem]:
    """The tag is the same for all images: only the `first` is told of it."""
    trouble = oci_trouble(name)
    if trouble:
        yield Problem(
            where=where,
            message=f"the name of the image, {name!r}, {trouble}",
            remediation="Rename the package or the module, or set container_config.image_name.",
        )
    if first and (trouble := oci_tag_trouble(tag)):
        yield Problem(where="container_config.image_tag", message=f"{tag!r} {trouble}")
