"""A small package on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from portalis.contracts.artifacts import DistributionArchive
from portalis.contracts.output import Artifacts
from portalis.contracts.package_manifest import (
    ArtifactsInventory,
    BuildInfo,
    PackageManifest,
    PerformanceMetrics,
    WasmBinaryInfo,
)
from portalis.publishing.published_package import Package
from portalis.spec.build import SourceInfo, TestInfo
from portalis.spec.package_spec import OperationMode

ROOT = PurePosixPath("/made/here")
MODULE = b"\0asm\1\0\0\0"

MakePackage = Callable[..., Package]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def archive_of(name: str, content: bytes) -> DistributionArchive:
    return DistributionArchive.model_validate(
        {
            "archive_name": name,
            "archive_path": str(ROOT / "archives" / name),
            "archive_format": "TarGz",
            "compressed_size_bytes": len(content),
            "uncompressed_size_bytes": len(content),
            "contents": {"total_files": 0, "total_directories": 0, "file_types": {}, "directories": ()},
            "checksums": {},
            "manifest_path": None,
            "readme_path": None,
        }
    )


@pytest.fixture
def make_package(tmp_path: Path) -> MakePackage:
    """Creates a package from `files`: a module for each ``.wasm``, and an archive for each archive in ``archives/``."""

    def make(files: dict[str, bytes], *, name: str = "Demo Package", version: str = "1.2.3+b", **more: Any) -> Package:
        folder = tmp_path / "package"
        for path, content in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        modules = [
            WasmBinaryInfo(
                name=PurePosixPath(path).stem,
                size_bytes=len(content),
                checksum_sha256=sha256(content),
                wasi_compliant=True,
                exports=(),
            )
            for path, content in files.items()
            if path.endswith(".wasm")
        ]
        archives = tuple(
            archive_of(PurePosixPath(path).name, content)
            for path, content in files.items()
            if path.startswith("archives/") and not path.endswith((".json", ".jsonl"))
        )
        manifest = PackageManifest(
            package_name=name,
            package_version=version,
            description="of no use",
            created_at="2026-01-02T03:04:05Z",
            pipeline_id="x",
            mode=OperationMode.Library,
            artifacts=ArtifactsInventory(),
            source_info=SourceInfo(),
            build_info=BuildInfo(wasm_binaries=tuple(modules), total_wasm_size_bytes=0),
            test_info=TestInfo(),
            performance_metrics=PerformanceMetrics(),
        )
        return Package(
            manifest=manifest,
            artifacts=Artifacts(distribution_archives=archives, **more),
            folder=folder,
            root=ROOT,
            files={PurePosixPath(path): sha256(content) for path, content in files.items()},
            modules={},
        )

    return make
