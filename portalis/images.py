"""Names of the container images that a package has: its service images, and the Triton image that its users build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from . import __version__
from .output.package_layout import CONTAINERS
from .spec import PackageSpec
from .spec.package_spec import WasmBinaryPath

TRITON_IMAGE = f"portalis-triton:{__version__}"
"""Triton with the `wasm` backend. No such image is published: users build it from Dockerfile.triton."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage:
    """A service image that a spec asks for."""

    name: str
    """The repository, without a tag."""
    tag: str

    @property
    def reference(self) -> str:
        """Name and tag, as container engines accept them."""
        return f"{self.name}:{self.tag}"

    @property
    def folder(self) -> PurePosixPath:
        """The directory of the build context, relative to the output directory."""
        return CONTAINERS / self.name.rpartition("/")[2]


def planned_images(spec: PackageSpec) -> tuple[PlannedImage, ...]:
    """One image per module, in the order of the spec; a single one if `package_image` is set."""
    if spec.container_config.package_image:
        return (_package_image(spec),)
    return tuple(planned_image(spec, module) for module in spec.wasm_binaries)


def planned_image(spec: PackageSpec, module: WasmBinaryPath) -> PlannedImage:
    """The image that contains `module`.

    The image of a package's only module has the configured name. Otherwise the module's name is appended to the
    configured name, or to the package's name if none is configured.
    """
    config = spec.container_config
    if config.package_image:
        return _package_image(spec)
    alone = config.image_name if len(spec.wasm_binaries) == 1 else None
    name = alone or f"{config.image_name or spec.package_name}-{module.module_name}"
    return PlannedImage(name=name, tag=_tag(spec))


def _package_image(spec: PackageSpec) -> PlannedImage:
    return PlannedImage(name=spec.container_config.image_name or spec.package_name, tag=_tag(spec))


def _tag(spec: PackageSpec) -> str:
    # a version may contain a plus sign, a tag may not
    return spec.container_config.image_tag or spec.package_version.replace("+", "-")
