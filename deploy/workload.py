"""Workloads to deploy, independent of the manifest type: one per service image, and one for the model repository."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ..contracts.artifacts import ContainerArtifact
from ..engines.engine_commands import build_command
from ..images import TRITON_IMAGE, planned_images
from ..quantities import cpu_millis, memory_bytes
from ..spec import PackageSpec
from ..spec.container import (
    CACHE_FOLDER,
    LIVE_PATH,
    MODEL_STORE,
    READY_PATH,
    STARTUP_S,
    ContainerConfiguration,
    ContainerRuntime,
    VolumeMount,
)
from ..spec.triton import InstanceKind, TritonConfiguration
from ..target import Job
from .object_names import workload_name

MODELS = "/models"
"""The model repository in a Triton container."""
_KEPT = {"cache": CACHE_FOLDER, "model-store": MODEL_STORE}  # directories of the images that every user can write to
_DEFAULT_HEALTH = ContainerConfiguration.model_fields["health_check_endpoint"].default  # an alias of LIVE_PATH
_TRITON_STARTUP_S = 600  # all modules of a repository are compiled
_TRITON_USER = 1000  # the user id of NVIDIA's images
_GRACE_S = 30  # the service takes up to 16 s to respond to the requests that it has accepted
_TRITON_GRACE_S = 45  # tritonserver's own timeout is 30 s
_SHM_BYTES = 1 << 30  # Triton passes tensors to Python models in shared memory


def triton_image_command(runtime: ContainerRuntime) -> str:
    """The shell command that writes the build context of `TRITON_IMAGE`, from an installed portalis, and builds it."""
    build = build_command(runtime, TRITON_IMAGE, "triton-image")
    return f"python -m portalis.nim.triton triton-image && {shlex.join(build)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """Health checks of a workload. Paths are requested at the port ``http``."""

    live: str
    ready: str
    interval_s: int
    timeout_s: int
    retries: int
    startup_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """Security settings of a container."""

    non_root: bool
    read_only: bool
    """Whether the root file system is read-only."""
    drop: tuple[str, ...]
    """The Linux capabilities to drop."""
    user: int | None = None
    """The user id; the image's own if None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A container to deploy, with its ports, storage and resource limits. Sizes are in bytes."""

    name: str
    image: str
    ports: Mapping[str, int]
    """The ports by name; the first one is the port of the API."""
    probes: Probes
    security: Security
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    memory: int | None = None
    cpu_millis: int | None = None
    gpus: int = 0
    volumes: tuple[VolumeMount, ...] = ()
    """Directories of the host to mount."""
    writable: tuple[str, ...] = ()
    """Paths of directories that the container writes to, empty at its start."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """Paths of directories that should outlive the container, by volume name."""
    grace_s: int
    """Seconds between SIGTERM and SIGKILL."""
    scraped: bool = True
    """Whether its port ``metrics`` serves Prometheus metrics at ``/metrics``."""
    shared_memory: int | None = None
    repository: PurePosixPath | None = None
    """The model repository in the output directory, mounted at `MODELS`."""
    repository_bytes: int = 0


def workloads(job: Job) -> Iterator[Workload]:
    """The workloads for the artifacts in `job.artifacts`: images sorted by name, then the Triton server."""
    for artifact in sorted(job.artifacts.nim_containers, key=lambda each: each.image_name):
        yield _service(job.spec.container_config, artifact)
    if job.artifacts.triton_models:
        yield _triton(job)


def workload_names(spec: PackageSpec) -> Iterator[tuple[str, str]]:
    """The name of each workload, after the key of the spec that determines it."""
    if spec.enable_nim_packaging:
        config, images = spec.container_config, planned_images(spec)
        named = config.image_name is not None and len(images) == 1
        for i, image in enumerate(images):
            key = "package_name" if config.package_image else f"wasm_binaries[{i}].name"
            yield ("container_config.image_name" if named else key), workload_name(image.name)
    if spec.enable_triton_integration:
        yield "package_name", triton_name(spec)


def triton_name(spec: PackageSpec) -> str:
    """The name of the workload that serves the model repository."""
    return workload_name(f"{spec.package_name}-triton")


def _service(config: ContainerConfiguration, artifact: ContainerArtifact) -> Workload:
    health = artifact.health_check_config
    mounted = {volume.container_path.rstrip("/") for volume in config.volumes}
    runs_service = not config.entrypoint  # a custom entry point might not serve the service's paths
    return Workload(
        name=workload_name(artifact.image_name),
        image=artifact.reference,
        ports={"http": config.service_port, "grpc": config.grpc_port, "metrics": config.metrics_port},
        probes=Probes(
            live=LIVE_PATH if runs_service and health.endpoint == _DEFAULT_HEALTH else health.endpoint,
            ready=READY_PATH if runs_service else health.endpoint,
            interval_s=health.interval_seconds,
            timeout_s=health.timeout_seconds,
            retries=health.retries,
            startup_s=STARTUP_S,
        ),
        security=Security(
            non_root=config.run_as_non_root,
            read_only=config.read_only_root_filesystem,
            drop=config.drop_capabilities,
        ),
        environment=config.environment_vars,
        memory=memory_bytes(config.memory_limit) if config.memory_limit is not None else None,
        cpu_millis=cpu_millis(config.cpu_limit) if config.cpu_limit is not None else None,
        gpus=(config.gpu_count or 1) if config.gpu_required else 0,
        volumes=config.volumes,
        writable=tuple({"/tmp"} - mounted),  # noqa: S108 (in the container)
        kept={name: path for name, path in _KEPT.items() if path not in mounted},
        grace_s=_GRACE_S,
        scraped=runs_service,
    )


def _triton(job: Job) -> Workload:
    repository = PurePosixPath(job.spec.triton_config.model_repository_path)
    files = [each for each in job.files.values() if each.path.is_relative_to(repository)]
    configs = [job.spec.triton_for(module) for module in job.spec.wasm_binaries]
    return Workload(
        name=triton_name(job.spec),
        image=TRITON_IMAGE,
        ports={"http": 8000, "grpc": 8001, "metrics": 8002},
        probes=Probes(
            live="/v2/health/live",
            ready="/v2/health/ready",
            interval_s=10,
            timeout_s=5,
            retries=3,
            startup_s=_TRITON_STARTUP_S,
        ),
        security=Security(non_root=True, read_only=False, drop=("ALL",), user=_TRITON_USER),
        command=("tritonserver", f"--model-repository={MODELS}"),
        gpus=max((_gpus(config) for config in configs), default=0),
        shared_memory=_SHM_BYTES,
        grace_s=_TRITON_GRACE_S,
        repository=repository,
        repository_bytes=sum(each.size_bytes for each in files),
    )


def _gpus(config: TritonConfiguration) -> int:
    groups = [group for group in config.instance_groups if group.kind is InstanceKind.GPU]
    return max((max(group.gpus, default=0) + 1 if group.gpus else 1 for group in groups), default=0)
