"""A job as the pipeline passes it to the archive target: a spec, inspected modules, and the files of earlier stages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from portalis.contracts.artifacts import ContainerArtifact, HealthCheckConfig, TritonModelArtifact
from portalis.contracts.output import Artifacts
from portalis.contracts.package_manifest import (
    ArtifactEntry,
    ArtifactsInventory,
    BuildInfo,
    PackageManifest,
    WasmBinaryInfo,
)
from portalis.inspection import inspect_module
from portalis.output import Written
from portalis.spec.build import SourceInfo, TestInfo
from portalis.spec.read import make_spec
from portalis.target import Job, Module
from tests.parts import ROOT

MODULE = ROOT / "examples" / "gelu" / "gelu.wasm"
CREATED_AT = "2024-05-06T07:08:09Z"
STAGED = {
    "model_repository/gelu/config.pbtxt": b'backend: "wasm"\n' * 40,
    "model_repository/gelu/1/model.wasm": MODULE.read_bytes(),
    "containers/demo-gelu/Dockerfile": b"FROM python:3.12-slim-bookworm\n",
    "containers/demo-gelu/app/main.py": b"print()\n",
    "containers/demo-gelu/demo.tar": b"an image " * 500,
    "omniverse/demo/config/extension.toml": b"[package]\n",
    "docs/openapi.json": b"{}\n",
    "deployment/kubernetes/deployment.yaml": b"kind: Deployment\n",
    "integration.txt": b"an unforeseen file\n",
}
KINDS = {
    "model_repository": "triton_models",
    "containers": "nim_containers",
    "omniverse": "omniverse_packages",
    "docs": "documentation",
    "deployment": "deployment_manifests",
}


class Package:
    """Creates jobs in one directory."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.staging = base / "staging"
        self.staging.mkdir(parents=True)
        self.files: dict[PurePosixPath, Written] = {}
        self.reported: list[str] = []
        self.spec: dict[str, Any] = {
            "package_name": "demo",
            "package_version": "1.2.3",
            "description": "A demo.",
            "wasm_binaries": [{"path": str(MODULE), "description": "The *GELU*."}],
            "output_directory": str(base / "out"),
            "triton_config": {"model_repository_path": "model_repository"},
            "distribution_config": {},
        }
        for path, data in STAGED.items():
            self.stage(path, data)

    @property
    def output(self) -> Path:
        return self.base / "out"

    def input(self, path: str, data: bytes = b"{}\n") -> str:
        """Write an input file, and return its path."""
        target = self.base / "inputs" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return str(target)

    def stage(self, path: str, data: bytes) -> None:
        """Write a file as an earlier stage does."""
        target = self.staging / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        self.files[PurePosixPath(path)] = Written(path=PurePosixPath(path), size_bytes=len(data), sha256=digest)

    def with_everything(self) -> None:
        """Add source, reports, benchmarks and a license."""
        self.input("workspace/Cargo.toml", b"[workspace]\n")
        self.input("workspace/src/lib.rs", b"// the source\n" * 30)
        self.spec |= {
            "test_results": self.input("results.json"),
            "parity_report": self.input("parity.json"),
            "benchmarks": self.input("bench.json"),
            "build_metadata": {"workspace_root": str(self.base / "inputs" / "workspace")},
        }
        self.spec["distribution_config"] |= {"license_file": self.input("license.txt"), "license_type": "Apache-2.0"}

    def configure(self, **config: Any) -> None:
        """Set keys of distribution_config."""
        self.spec["distribution_config"] |= config

    def job(self) -> Job:
        spec = make_spec(json.loads(json.dumps(self.spec)), base=self.base, source="the test's spec")
        modules = tuple(
            Module(name=each.module_name, path=each.path, binary=each, inspection=inspect_module(each.path))
            for each in spec.wasm_binaries
        )
        return Job(
            spec=spec,
            modules=modules,
            output=self.output,
            staging=self.staging,
            previous=None,
            artifacts=self.artifacts(),
            files=dict(self.files),
            manifest=lambda: self.manifest(modules),
            created_at=CREATED_AT,
            live=False,
            report=self.reported.append,
        )

    def artifacts(self) -> Artifacts:
        """The artifacts of earlier stages."""
        model = self.output / "model_repository" / "gelu"
        return Artifacts(
            nim_containers=(container(self.output),),
            triton_models=(
                TritonModelArtifact(
                    model_name="gelu",
                    model_version=1,
                    model_repository_path=str(model),
                    config_pbtxt_path=str(model / "config.pbtxt"),
                    wasm_model_paths=(str(model / "1" / "model.wasm"),),
                    platform="wasm",
                    max_batch_size=0,
                    instance_count=1,
                    validated=True,
                ),
            ),
        )

    def manifest(self, modules: tuple[Module, ...]) -> PackageManifest:
        """The manifest of the pipeline before this stage."""
        kinds: dict[str, list[ArtifactEntry]] = {kind: [] for kind in KINDS.values()}
        for path, written in self.files.items():
            if (kind := KINDS.get(path.parts[0])) is not None:
                entry = ArtifactEntry(
                    name=path.name,
                    path=str(path),
                    size_bytes=written.size_bytes,
                    checksum_sha256=written.sha256,
                    artifact_type=kind,
                )
                kinds[kind].append(entry)
        binaries = tuple(
            WasmBinaryInfo(
                name=module.name,
                size_bytes=module.inspection.size_bytes,
                checksum_sha256=module.inspection.sha256,
                wasi_compliant=module.inspection.wasi_compliant,
                exports=tuple(export.name for export in module.inspection.exports),
            )
            for module in modules
        )
        return PackageManifest(
            package_name=self.spec["package_name"],
            package_version=self.spec["package_version"],
            description=self.spec["description"],
            created_at=CREATED_AT,
            pipeline_id="run-1",
            mode="library",  # type: ignore[arg-type]
            artifacts=ArtifactsInventory(**{kind: tuple(entries) for kind, entries in kinds.items()}),
            source_info=SourceInfo(),
            build_info=BuildInfo(wasm_binaries=binaries, build_time_seconds=12.5, total_wasm_size_bytes=4000),
            test_info=TestInfo(total_tests=10, passed_tests=9, parity_score_percent=99.5),
            performance_metrics={},  # type: ignore[arg-type]
        )


def container(output: Path) -> ContainerArtifact:
    folder = output / "containers" / "demo-gelu"
    return ContainerArtifact(
        image_name="demo-gelu",
        image_tag="1.2.3",
        image_id="sha256:" + "0" * 64,
        image_size_bytes=1,
        dockerfile_path=str(folder / "Dockerfile"),
        image_archive_path=str(folder / "demo.tar"),
        created_at=CREATED_AT,
        base_image="python:3.12-slim-bookworm",
        layers=(),
        health_check_config=HealthCheckConfig(endpoint="/health", interval_seconds=1, timeout_seconds=1, retries=1),
        exposed_ports=(8000, 9090),
        environment_vars={},
        image_digest="sha256:" + "0" * 64,
    )


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path)


@pytest.fixture
def new_package(tmp_path: Path) -> Callable[[str], Package]:
    return lambda name: Package(tmp_path / name)
