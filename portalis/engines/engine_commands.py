"""The commands that build, load and run service images by hand, as the engine of a spec has them, for documents."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from ..quantities import cpu_millis, memory_bytes
from ..spec.container import ContainerConfiguration, ContainerRuntime


def program(runtime: ContainerRuntime) -> str:
    """``docker`` or ``podman``."""
    return runtime.value.lower()


def build(
    runtime: ContainerRuntime, image: str, folder: str, arguments: Mapping[str, str] | None = None, tag: str = "-t"
) -> list[str]:
    """The words that build `image` from its context in `folder`."""
    values = [f"{name}={value}" for name, value in (arguments or {}).items()]
    # Podman's own format has no place for a health check
    form = ["--format", "docker"] if runtime is ContainerRuntime.Podman else []
    given = [word for value in values for word in ("--build-arg", value)]
    return [program(runtime), "build", *form, *given, tag, image, folder]


def load(runtime: ContainerRuntime, archive: PurePosixPath) -> list[str]:
    """The words that load an exported image."""
    return [program(runtime), "load", "--input", str(archive)]


def run(config: ContainerConfiguration, image: str) -> list[str]:
    """The words that run `image` as the spec confines it, with its volumes and all its ports."""
    return [program(config.runtime), "run", "--rm", *_options(config), image]


def written(words: list[str]) -> str:
    """A line for a shell."""
    return shlex.join(words)


def _options(config: ContainerConfiguration) -> Iterator[str]:
    if config.read_only_root_filesystem:
        yield from ("--read-only", "--tmpfs", "/tmp")  # noqa: S108 (of the container)
    yield from (f"--cap-drop={each}" for each in config.drop_capabilities)
    yield "--security-opt=no-new-privileges"
    if config.memory_limit is not None:
        yield from ("--memory", f"{memory_bytes(config.memory_limit)}b")
    if config.cpu_limit is not None:
        yield from ("--cpus", f"{cpu_millis(config.cpu_limit) / 1000:g}")
    if config.gpu_required and config.runtime is ContainerRuntime.Podman:
        yield from ("--device", "nvidia.com/gpu=all")
    elif config.gpu_required:
        yield from ("--gpus", str(config.gpu_count or 1))
    for volume in config.volumes:
        yield from ("--volume", f"{volume.host_path}:{volume.container_path}{':ro' if volume.read_only else ''}")
    for port in (config.metrics_port, config.grpc_port, config.service_port):
        yield from ("--publish", f"{port}:{port}")
