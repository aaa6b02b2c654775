"""The build and the operation of service images (requirements 2.2)."""

from __future__ import annotations

from pydantic import Field

from .base import Choice, Cpu, Memory, NonEmpty, Path, Port, Positive, Seconds, Structure

# of every service image: its generators and the manifests that deploy it agree on these
LIVE_PATH = "/v1/health/live"
READY_PATH = "/v1/health/ready"
CACHE_FOLDER = "/opt/nim/.cache"  # a NIM's place for files that it can create again
MODEL_STORE = "/model-store"
STARTUP_S = 60  # a module may take this long to compile


class ContainerRuntime(Choice):
    """The engine that builds the images."""

    Docker = "Docker"
    Podman = "Podman"


class WasmRuntime(Choice):
    """The WebAssembly runtime inside the image. Wasmer and WasmEdge run modules of the convention `command`."""

    Wasmtime = "Wasmtime"
    Wasmer = "Wasmer"
    WasmEdge = "WasmEdge"


class VolumeMount(Structure):
    """A directory of the host that is mounted in the container."""

    host_path: NonEmpty
    container_path: NonEmpty
    read_only: bool = True


class ContainerConfiguration(Structure):
    """Settings of the service images: one for each module, or one for the package."""

    base_image: NonEmpty = "python:3.12-slim-bookworm"
    """The base image, with Python 3.10 to 3.13 and pip."""
    runtime: ContainerRuntime = ContainerRuntime.Docker
    image_name: NonEmpty | None = None
    """The image's name, for a package of one module. With several modules, a dash and the module's name are appended to
    it; without this key, they are appended to the package's name."""
    image_tag: NonEmpty | None = None
    """By default the package's version."""
    labels: dict[NonEmpty, str] = Field(default_factory=dict)
    wasm_runtime: WasmRuntime = WasmRuntime.Wasmtime
    wasm_runtime_version: NonEmpty | None = None
    """By default the version that portalis was tested with; for Wasmer and WasmEdge the installed version."""
    wasm_runtime_path: Path | None = None
    """The executable of Wasmer or WasmEdge; by default the one on PATH."""
    health_check_endpoint: str = Field(default="/health", pattern=r"^/[A-Za-z0-9._~/-]*$")
    health_check_interval: Seconds = 30
    health_check_timeout: Seconds = 5
    health_check_retries: Positive = 3
    service_port: Port = 8000
    grpc_port: Port = 8001
    metrics_port: Port = 9090
    memory_limit: Memory | None = None
    cpu_limit: Cpu | None = None
    gpu_required: bool = False
    gpu_count: Positive | None = None
    environment_vars: dict[NonEmpty, str] = Field(default_factory=dict)
    volumes: tuple[VolumeMount, ...] = ()
    entrypoint: tuple[str, ...] = ()
    """By default the service."""
    command_args: tuple[str, ...] = ()
    run_as_non_root: bool = True
    read_only_root_filesystem: bool = True
    drop_capabilities: tuple[NonEmpty, ...] = ("ALL",)
    package_image: bool = False
    """Whether to build one image with all modules and ensembles instead of one for each module."""
    export_image: bool = False
    """Whether to save each image as a tar archive in the output directory too."""
    wheelhouse: Path | None = None
    """A directory of wheels to install from, for builds without a package index."""
    build_timeout: Seconds = 600
