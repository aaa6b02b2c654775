"""Artifacts of a run (requirements 2.6): images, Triton models, extensions, archives, deployment manifests."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..documented import AbsolutePath, DateTime, Record
from ..spec.base import U32, U64, Choice
from ..spec.distribution import ArchiveFormat, ChecksumAlgorithm


class ImageLayer(Record):
    """One layer of an image."""

    layer_id: str
    size_bytes: U64
    created_by: str
    comment: str | None = None


class HealthCheckConfig(Record):
    """The health check of a container."""

    endpoint: str
    interval_seconds: U64
    timeout_seconds: U64
    retries: U32


class ContainerArtifact(Record):
    """A service image."""

    image_name: str
    image_tag: str
    image_id: str
    image_size_bytes: U64
    dockerfile_path: AbsolutePath
    image_archive_path: AbsolutePath | None = None
    created_at: DateTime
    base_image: str
    layers: tuple[ImageLayer, ...]
    health_check_config: HealthCheckConfig
    exposed_ports: tuple[U32, ...]
    environment_vars: dict[str, str]
    image_digest: str
    """``sha256:`` and 64 hexadecimal digits."""

    @property
    def reference(self) -> str:
        """Name and tag, as in the commands of container engines."""
        return f"{self.image_name}:{self.image_tag}"


class TritonModelArtifact(Record):
    """A model in the model repository."""

    model_name: str
    model_version: U32
    model_repository_path: AbsolutePath
    """The model's directory in the repository."""
    config_pbtxt_path: AbsolutePath
    wasm_model_paths: tuple[AbsolutePath, ...]
    """Empty for an ensemble."""
    platform: str
    max_batch_size: U32
    instance_count: U32
    validated: bool
    validation_report: str | None = None


class PackagedModule(Record):
    """A module inside an extension (``WasmModulePath``)."""

    module_name: str
    file_path: AbsolutePath
    entry_point: str
    description: str


class OmniversePackageArtifact(Record):
    """An Omniverse Kit extension."""

    extension_name: str
    extension_version: str
    package_path: AbsolutePath
    extension_toml_path: AbsolutePath
    wasm_modules: tuple[PackagedModule, ...]
    readme_path: AbsolutePath
    examples_path: AbsolutePath | None = None
    kit_version_compatibility: str
    validated: bool


class DirectoryEntry(Record):
    """A directory of an archive."""

    name: str
    path: str
    description: str
    file_count: U32


class ArchiveInventory(Record):
    """The content of an archive."""

    total_files: U32
    total_directories: U32
    file_types: dict[str, U32]
    """The number of files by file name extension."""
    directories: tuple[DirectoryEntry, ...]


class DistributionArchive(Record):
    """A distribution archive."""

    archive_name: str
    archive_path: AbsolutePath
    archive_format: ArchiveFormat
    compressed_size_bytes: U64
    uncompressed_size_bytes: U64
    contents: ArchiveInventory
    checksums: dict[ChecksumAlgorithm, str]
    manifest_path: AbsolutePath | None
    """The manifest, which is also in the archive; null if it is disabled."""
    readme_path: AbsolutePath | None
    """The README, which is also in the archive; null if it is disabled."""


class DeploymentType(Choice):
    """The tool that reads a deployment manifest."""

    Kubernetes = "Kubernetes"
    DockerCompose = "DockerCompose"
    Helm = "Helm"
    Terraform = "Terraform"


class K8sResource(Record):
    """A Kubernetes object."""

    api_version: str
    kind: str
    metadata: dict[str, Any]
    spec: dict[str, Any]


class ComposeService(Record):
    """A service of a Compose file."""

    image: str
    ports: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()


class DeploymentManifest(Record):
    """A file that deploys the package."""

    manifest_type: DeploymentType
    file_path: AbsolutePath
    kubernetes_resources: tuple[K8sResource, ...] | None = None
    docker_compose_services: dict[str, ComposeService] | None = None
