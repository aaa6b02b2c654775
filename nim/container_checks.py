"""What of a container configuration no image can be made with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from ..problems import Problem
from ..spec.container import ContainerConfiguration
from .quoting import ARGUMENT, trouble

# the distribution specification's grammar, which has no character that means anything to a Dockerfile
_IMAGE = re.compile(
    r"([A-Za-z0-9.-]+(:\d+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?")
FOLDERS = ("/app/models", "/opt/venv")  # of the image, and their parents
_OWN = {
    "SERVICE_PORT": "service_port",
    "GRPC_PORT": "grpc_port",
    "METRICS_PORT": "metrics_port",
    "WASM_MODULE": "wasm_binaries",
}


def problems(config: ContainerConfiguration) -> Iterator[Problem]:
    """What no image can be made with, each with its path in the spec."""
    at = "container_config"
    if _IMAGE.fullmatch(config.base_image) is None:
        yield Problem(where=f"{at}.base_image", message=f"{config.base_image!r} is no image reference")
    yield from _mappings(config)
    for kind, words in (("entrypoint", config.entrypoint), ("command_args", config.command_args)):
        for index, word in enumerate(words):
            if (why := trouble(word)) is not None:
                yield Problem(where=f"{at}.{kind}[{index}]", message=f"the word {why}")
    for index, volume in enumerate(config.volumes):
        path, where = volume.container_path, f"{at}.volumes[{index}].container_path"
        if not path.startswith("/") or not path.isprintable() or ".." in path.split("/"):
            yield Problem(where=where, message=f"{path!r} is no absolute path in a container")
        elif hidden := [folder for folder in FOLDERS if PurePosixPath(folder).is_relative_to(_plain(path))]:
            yield Problem(
                where=where,
                message=f"a volume at {path!r} would hide {hidden[0]}, which the image brings",
                remediation=f"Choose a container_path outside {hidden[0]}.",
            )


def _plain(path: str) -> PurePosixPath:
    return PurePosixPath("/" + path.lstrip("/"))  # two slashes at the start are a root of their own to pathlib


def _mappings(config: ContainerConfiguration) -> Iterator[Problem]:
    for kind, values, pattern in (
        ("labels", config.labels, _LABEL),
        ("environment_vars", config.environment_vars, _VARIABLE),
    ):
        at = f"container_config.{kind}"
        for key, value in values.items():
            if pattern.fullmatch(key) is None or key.startswith(ARGUMENT):
                yield Problem(where=at, message=f"{key!r} is no name that an image can have there")
            if (why := trouble(value)) is not None:
                yield Problem(where=f"{at}.{key}", message=f"the value {why}")
    for key in sorted(_OWN.keys() & config.environment_vars.keys()):
        yield Problem(
            where=f"container_config.environment_vars.{key}",
            message="the image sets this variable itself",
            remediation=f"Set {_OWN[key]} instead.",
        )
