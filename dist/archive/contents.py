"""What goes where in an archive (requirements 3.5, `organize_distribution_contents`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...spec import PackageSpec
from ...target import Job
from ..archive_errors import failed, reason
from .members import Member, Members, from_file, is_executable
from .rust_source import LeftOut, rust_source, workspace_root

WASM, CONTAINERS, TRITON, OMNIVERSE = "wasm", "containers", "triton", "omniverse"
SOURCE, TESTS, DOCS, DEPLOYMENT, OTHER = "src", "tests", "docs", "deployment", "other"
IMAGE = "image.tar"
LICENSE = "LICENSE"

DESCRIPTIONS = {
    WASM: "WebAssembly modules",
    CONTAINERS: "Service containers: a Dockerfile and its build context for each, and the image where it was exported",
    TRITON: "Model repository of Triton Inference Server",
    OMNIVERSE: "NVIDIA Omniverse extensions",
    SOURCE: "Rust source of the modules",
    TESTS: "Results of tests, parity checks and benchmarks",
    DOCS: "API documents and integration guides",
    DEPLOYMENT: "Deployment manifests",
    OTHER: "Other files of the package",
}
# where earlier stages put their files, in the output as here, beside the model repository, whose place the spec says
STAGED = (CONTAINERS, OMNIVERSE, DOCS, DEPLOYMENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The files of an archive, without its README and manifest, and what was left out of it."""

    members: Members
    left_out: tuple[LeftOut, ...]


def contents(job: Job) -> Contents:
    """Decide what the archive of `job` holds. Raises StageError for a file that cannot be read."""
    config = job.spec.distribution_config
    root = workspace_root(job.spec) if config.include_source_rust else None
    try:
        source, left_out = rust_source(root, SOURCE, config.source_exclude) if root is not None else ((), ())
        members = Members([*_modules(job), *_staged(job), *source, *_reports(job.spec), *_license(job.spec)])
    except OSError as error:
        raise failed(
            f"a file of the archive cannot be read: {reason(error)}",
            remediation="Make it readable, or leave it out of the archive with the include_… switches of"
            " distribution_config.",
            io_errors=[reason(error)],
        ) from None
    return Contents(members=members, left_out=tuple(left_out))


def _modules(job: Job) -> Iterator[Member]:
    for module in job.modules:
        yield Member(
            path=PurePosixPath(WASM, f"{module.name}.wasm"),
            content=module.path,
            size_bytes=module.inspection.size_bytes,
            sha256=module.inspection.sha256,
            kind="wasm_module",
        )


def _staged(job: Job) -> Iterator[Member]:
    """What the earlier stages made."""
    images = _images(job)
    for path, written in job.files.items():
        place = images.get(path) or _place(path, job.spec)
        if place.parts[0] == DOCS and not job.spec.distribution_config.include_documentation:
            continue
        source = job.staging / path
        yield Member(
            path=place,
            content=source,
            size_bytes=written.size_bytes,
            sha256=written.sha256,
            executable=is_executable(source),
            staged=path,
        )


def _place(path: PurePosixPath, spec: PackageSpec) -> PurePosixPath:
    repository = spec.triton_config.model_repository_path
    if path.is_relative_to(repository):
        return PurePosixPath(TRITON, path.relative_to(repository))
    top, *below = path.parts
    return PurePosixPath(top, *below) if top in STAGED and below else PurePosixPath(OTHER, path)


def _images(job: Job) -> dict[PurePosixPath, PurePosixPath]:
    """Where exported images go: beside the Dockerfile that they were built from, under one name."""
    places = {}
    for container in job.artifacts.nim_containers:
        if container.image_archive_path is not None:
            recipe = PurePosixPath(container.dockerfile_path).relative_to(job.output)
            image = PurePosixPath(container.image_archive_path).relative_to(job.output)
            places[image] = _place(recipe, job.spec).parent / IMAGE
    return places


def _reports(spec: PackageSpec) -> Iterator[Member]:
    config = spec.distribution_config
    tests, benchmarks = config.include_test_reports, config.include_benchmarks
    wanted: list[tuple[Path | None, bool, str, str]] = [
        (spec.test_results, tests, "test_results.json", "test_report"),
        (spec.parity_report, tests, "parity_report.json", "test_report"),
        (spec.benchmarks, benchmarks, "benchmarks.json", "benchmark"),
    ]
    for source, included, name, kind in wanted:
        if source is not None and included:
            yield from_file(PurePosixPath(TESTS, name), source, kind)


def _license(spec: PackageSpec) -> Iterator[Member]:
    if (license_file := spec.distribution_config.license_file) is not None:
        yield from_file(LICENSE, license_file, "license")
