"""Commands of Docker and Podman that build, load and run a service image, for documents and scripts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from ..quantities import cpu_millis, memory_bytes
from ..spec.container import ContainerConfiguration, ContainerRuntime


def engine_program(runtime: ContainerRuntime) -> str:
    """The name of the engine's command-line tool: ``docker`` or ``podman``."""
    return runtime.value.lower()


def build_command(
    runtime: ContainerRuntime, image: str, folder: str, arguments: Mapping[str, str] | None = None, tag: str = "-t"
) -> list[str]:
    """The arguments of a command that builds `image` from the context in `folder`. `tag` is the option's spelling."""
    build_arguments = [word for name, value in (arguments or {}).items() for word in ("--build-arg", f"{name}={value}")]
    # Podman's default format, OCI, cannot represent a health check
    image_format = ["--format", "docker"] if runtime is ContainerRuntime.Podman else []
    return [engine_program(runtime), "build", *image_format, *build_arguments, tag, image, folder]


def load_command(runtime: ContainerRuntime, archive: PurePosixPath) -> list[str]:
    """The arguments of a command that loads an exported image."""
    return [engine_program(runtime), "load", "--input", str(archive)]


def run_command(config: ContainerConfiguration, image: str) -> list[str]:
    """The arguments of a command that runs `image` with the restrictions, volumes and ports of `config`."""
    return [engine_program(config.runtime), "run", "--rm", *_options(config), image]


def shell_line(command: list[str]) -> str:
    """The command as one line for a shell."""
    return shlex.join(command)


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
