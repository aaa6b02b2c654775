"""Checks of a container configuration, and of the names of images and models, before anything is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from ..images import PlannedImage, planned_image, planned_images
from ..naming import is_image_reference, oci_problem, oci_tag_problem, service_problem
from ..problems import Problem
from ..spec import PackageSpec
from ..spec.container import ContainerConfiguration
from .quoting import ARGUMENT, value_problem

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?")
MODELS = "/app/models"
"""The directory of the image with the modules and the service's settings."""
VENV = "/opt/venv"
"""The virtual environment of the image."""
_RESERVED = {  # environment variables that the image sets, and the keys of the spec that they come from
    "SERVICE_PORT": "service_port",
    "GRPC_PORT": "grpc_port",
    "METRICS_PORT": "metrics_port",
    "WASM_MODULE": "wasm_binaries",
}


def container_problems(config: ContainerConfiguration) -> Iterator[Problem]:
    """Values that an image cannot have."""
    at = "container_config"
    if not is_image_reference(config.base_image):
        yield Problem(where=f"{at}.base_image", message=f"expected an image reference, got {config.base_image!r}")
    yield from _mappings(config)
    for key, argv in (("entrypoint", config.entrypoint), ("command_args", config.command_args)):
        for index, argument in enumerate(argv):
            if (reason := value_problem(argument)) is not None:
                yield Problem(where=f"{at}.{key}[{index}]", message=f"the argument {reason}")
    for index, volume in enumerate(config.volumes):
        path, where = volume.container_path, f"{at}.volumes[{index}].container_path"
        if not path.startswith("/") or not path.isprintable() or ".." in path.split("/"):
            yield Problem(where=where, message=f"expected an absolute path in the container, got {path!r}")
        elif hidden := [folder for folder in (MODELS, VENV) if PurePosixPath(folder).is_relative_to(_normalized(path))]:
            yield Problem(
                where=where,
                message=f"a volume at {path!r} would hide {hidden[0]}, which is part of the image",
                remediation=f"Choose a container_path outside {hidden[0]}.",
            )


def _normalized(path: str) -> PurePosixPath:
    return PurePosixPath("/" + path.lstrip("/"))  # for pathlib, two leading slashes are a different root


def _mappings(config: ContainerConfiguration) -> Iterator[Problem]:
    for mapping, values, pattern in (
        ("labels", config.labels, _LABEL),
        ("environment_vars", config.environment_vars, _VARIABLE),
    ):
        at = f"container_config.{mapping}"
        for key, value in values.items():
            if pattern.fullmatch(key) is None or key.startswith(ARGUMENT):
                yield Problem(where=at, message=f"{key!r} is not a valid name")
            if (reason := value_problem(value)) is not None:
                yield Problem(where=f"{at}.{key}", message=f"the value {reason}")
    for key in sorted(_RESERVED.keys() & config.environment_vars.keys()):
        yield Problem(
            where=f"container_config.environment_vars.{key}",
            message="the image sets this variable itself",
            remediation=f"Set {_RESERVED[key]} instead.",
        )


def name_problems(spec: PackageSpec) -> Iterator[Problem]:
    """Names that registries reject for an image, or that the service rejects for a model."""
    config = spec.container_config
    if config.package_image:
        where = "package_name" if config.image_name is None else "container_config.image_name"
        yield from _image_name_problems(where, planned_images(spec)[0])
    for i, module in enumerate(spec.wasm_binaries):
        where = f"wasm_binaries[{i}].name"
        if not config.package_image:
            yield from _image_name_problems(where, planned_image(spec, module), check_tag=i == 0)
        if (reason := service_problem(module.module_name)) is not None:
            yield Problem(
                where=where,
                message=f"{module.module_name!r} {reason}",
                remediation="Give the module another `name`.",
            )


def _image_name_problems(where: str, image: PlannedImage, *, check_tag: bool = True) -> Iterator[Problem]:
    # all images have the same tag: one check is enough
    if (reason := oci_problem(image.name)) is not None:
        yield Problem(
            where=where,
            message=f"the name of the image, {image.name!r}, {reason}",
            remediation="Rename the package or the module, or set container_config.image_name.",
        )
    if check_tag and (reason := oci_tag_problem(image.tag)) is not None:
        yield Problem(where="container_config.image_tag", message=f"{image.tag!r} {reason}")
