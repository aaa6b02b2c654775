"""The package manifest (requirements 2.6): files, sources, build and tests of a package."""

from __future__ import annotations

from ..documented import DateTime, FloatSeconds, Record, Sha256
from ..spec.base import U64, SemanticVersion
from ..spec.build import SourceInfo, TestInfo
from ..spec.package_spec import OperationMode

FORMAT = "1.0"


class ArtifactEntry(Record):
    """One file of the package."""

    name: str
    path: str
    """The path relative to the package."""
    size_bytes: U64
    checksum_sha256: Sha256
    artifact_type: str


class ArtifactsInventory(Record):
    """The files, grouped by the stage that wrote them."""

    nim_containers: tuple[ArtifactEntry, ...] = ()
    triton_models: tuple[ArtifactEntry, ...] = ()
    omniverse_packages: tuple[ArtifactEntry, ...] = ()
    distribution_archives: tuple[ArtifactEntry, ...] = ()
    documentation: tuple[ArtifactEntry, ...] = ()
    deployment_manifests: tuple[ArtifactEntry, ...] = ()


class WasmBinaryInfo(Record):
    """A module of the package."""

    name: str
    size_bytes: U64
    checksum_sha256: Sha256
    wasi_compliant: bool
    exports: tuple[str, ...]


class BuildInfo(Record):
    """The build of the modules; null means unknown."""

    rust_version: str | None = None
    cargo_version: str | None = None
    wasm_binaries: tuple[WasmBinaryInfo, ...]
    build_time_seconds: FloatSeconds | None = None
    total_wasm_size_bytes: U64


class BenchmarkResult(Record):
    """The result of a benchmark."""

    name: str
    python_time_ms: float | None = None
    rust_wasm_time_ms: float | None = None
    speedup_factor: float | None = None


class PerformanceMetrics(Record):
    """The performance of the modules relative to the original Python code; null means unknown."""

    benchmark_results: tuple[BenchmarkResult, ...] = ()
    speedup_factor: float | None = None
    memory_usage_bytes: U64 | None = None


class PackageManifest(Record):
    """The inventory of a package."""

    version: str = FORMAT
    package_name: str
    package_version: SemanticVersion
    description: str = ""
    created_at: DateTime
    pipeline_id: str
    mode: OperationMode
    artifacts: ArtifactsInventory
    source_info: SourceInfo
    build_info: BuildInfo
    test_info: TestInfo
    performance_metrics: PerformanceMetrics
    notes: tuple[str, ...] = ()
    """Notes for readers, such as the stages that failed."""
