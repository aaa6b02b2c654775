"""Builds the package manifest: every file with its size and hash, the sources, the build and the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from ..contracts.errors import PackagingStage
from ..contracts.package_manifest import ArtifactEntry, ArtifactsInventory, BuildInfo, PackageManifest, WasmBinaryInfo
from ..output import Written
from ..spec import PackageSpec
from ..target import Module, StageError
from .outcome import Produced, Stage, usable_count
from .upstream import Upstream

_KINDS = {
    PackagingStage.NimGeneration: "nim_containers",
    PackagingStage.TritonConfiguration: "triton_models",
    PackagingStage.OmniversePackaging: "omniverse_packages",
    PackagingStage.DocumentationGeneration: "documentation",
    PackagingStage.ArchiveCreation: "distribution_archives",
    PackagingStage.DeploymentGeneration: "deployment_manifests",
}


def build_manifest(
    spec: PackageSpec,
    modules: Sequence[Module],
    upstream: Upstream,
    stages: Sequence[Stage],
    run_errors: Sequence[StageError],
    files: Mapping[PurePosixPath, Written],
    created_at: str,
) -> PackageManifest:
    """The manifest of the artifacts of `stages`, with notes about failed stages and the `run_errors`."""
    entries: dict[str, tuple[ArtifactEntry, ...]] = {}
    for stage in stages:
        kind = _KINDS.get(stage.stage)
        if kind is not None and stage.files:
            entries[kind] = tuple(_entry(files[path], kind) for path in sorted(stage.files))
    return PackageManifest(
        package_name=spec.package_name,
        package_version=spec.package_version,
        description=spec.description,
        created_at=created_at,
        pipeline_id=spec.run_id,
        mode=spec.mode,
        artifacts=ArtifactsInventory(**entries),
        source_info=upstream.source,
        build_info=_build_info(modules, upstream),
        test_info=upstream.tests,
        performance_metrics=upstream.performance,
        notes=_notes(stages, run_errors),
    )


def _entry(file: Written, kind: str) -> ArtifactEntry:
    return ArtifactEntry(
        name=file.path.name,
        path=str(file.path),
        size_bytes=file.size_bytes,
        checksum_sha256=file.sha256,
        artifact_type=kind,
    )


def _build_info(modules: Sequence[Module], upstream: Upstream) -> BuildInfo:
    """Information about the build. Sizes are those of the packaged modules, even if the build reported others."""
    return BuildInfo(
        rust_version=upstream.build.rust_version,
        cargo_version=upstream.build.cargo_version,
        build_time_seconds=upstream.build.build_time_seconds,
        wasm_binaries=tuple(_binary(module) for module in modules),
        total_wasm_size_bytes=sum(module.inspection.size_bytes for module in modules),
    )


def _binary(module: Module) -> WasmBinaryInfo:
    found = module.inspection
    return WasmBinaryInfo(
        name=module.name,
        size_bytes=found.size_bytes,
        checksum_sha256=found.sha256,
        wasi_compliant=found.wasi_compliant,
        exports=tuple(export.name for export in found.exports),
    )


def _notes(stages: Sequence[Stage], run_errors: Sequence[StageError]) -> tuple[str, ...]:
    """Missing artifacts (requirements 5.2): stages that failed in whole or in part, and errors of the whole run."""
    notes = [
        f"Incomplete: {_summary(stage)}" if _count(stage) else f"Failed: {stage.stage.value}"
        for stage in stages
        if stage.errors
    ]
    notes += [error.message for error in run_errors]
    return ("Partial packaging - some stages failed", *dict.fromkeys(notes)) if notes else ()


def _count(stage: Stage) -> int:
    return usable_count(stage.result) if isinstance(stage.outcome, Produced) else 0


def _summary(stage: Stage) -> str:
    """``TritonConfiguration (5 of 7 made)``, with the number of errors if they do not name the missing artifacts."""
    missing = {name for error in stage.errors for name in error.failed}
    if missing:
        return f"{stage.stage.value} ({_count(stage)} of {_count(stage) + len(missing)} made)"
    count = len(stage.errors)
    return f"{stage.stage.value} ({_count(stage)} made, {count} error{'' if count == 1 else 's'})"
