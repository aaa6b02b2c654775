"""The option --engine, which several commands have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ..spec.container import ContainerRuntime

NAMES = ("docker", "podman")


def engine_named(name: str) -> ContainerRuntime:
    """The engine that the option names. Raises UsageError."""
    from ..spec.container import ContainerRuntime

    if name not in NAMES:
        raise UsageError(f"--engine {name}: there is no such engine", remediation="Use docker or podman.")
    return ContainerRuntime(name.capitalize())
