"""Contents of an archive: which files it contains and in which directories (requirements 3.5,
`organize_distribution_contents`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...contracts.output import PackagingWarning, WarningSeverity
from ...output.package_layout import CONTAINERS, DEPLOYMENT, DOCS, IMAGE_ARCHIVE, OMNIVERSE
from ...spec import PackageSpec
from ...target import Job
from ..archive_errors import archive_error, os_error_text
from .members import Member, Members, file_member, is_executable
from .rust_source import OmittedFile, rust_source, workspace_root

WASM, TRITON, SOURCE, TESTS, OTHER = "wasm", "triton", "src", "tests", "other"
LICENSE = "LICENSE"

DESCRIPTIONS = {
    WASM: "WebAssembly modules",
    CONTAINERS.name: "Service containers: for each, a Dockerfile, its build context, and the image if it was exported",
    TRITON: "Model repository of Triton Inference Server",
    OMNIVERSE.name: "NVIDIA Omniverse extensions",
    SOURCE: "Rust source of the modules",
    TESTS: "Test results, parity reports and benchmarks",
    DOCS.name: "API documents and integration guides",
    DEPLOYMENT.name: "Deployment manifests",
    OTHER: "Other files of the package",
}
# directories of earlier stages with the same name in the output directory and in the archive; the name of the model
# repository in the output directory is a setting
OUTPUT_DIRECTORIES = (CONTAINERS.name, OMNIVERSE.name, DOCS.name, DEPLOYMENT.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveContents:
    """The files of an archive, without its README and manifest, and the source files that were omitted."""

    members: Members
    omitted: tuple[OmittedFile, ...]


def archive_contents(job: Job) -> ArchiveContents:
    """Decide which files the archive of `job` contains. Raises StageError for a file that cannot be read."""
    config = job.spec.distribution_config
    root = workspace_root(job.spec) if config.include_source_rust else None
    try:
        source, omitted = rust_source(root, SOURCE, config.source_exclude) if root is not None else ((), ())
        members = Members([*_modules(job), *_staged(job), *source, *_reports(job.spec), *_license(job.spec)])
    except OSError as error:
        raise archive_error(
            f"a file of the archive cannot be read: {os_error_text(error)}",
            remediation="Make the file readable, or exclude it with the include_… options of distribution_config.",
            io_errors=[os_error_text(error)],
        ) from None
    return ArchiveContents(members=members, omitted=tuple(omitted))


def unused_include_warnings(job: Job) -> Iterator[PackagingWarning]:
    """Yield a warning for each ``include_…`` option that the spec sets to true explicitly and that adds no file. Raises
    StageError for a build report that cannot be read."""
    spec, config = job.spec, job.spec.distribution_config
    options: dict[str, tuple[Callable[[], bool], str]] = {
        "include_source_rust": (lambda: workspace_root(spec) is not None, "build_metadata has no workspace_root"),
        "include_test_reports": (
            lambda: spec.test_results is not None or spec.parity_report is not None,
            "neither test_results nor parity_report is set",
        ),
        "include_benchmarks": (lambda: spec.benchmarks is not None, "benchmarks is not set"),
        "include_documentation": (
            lambda: any(path.parts[0] == DOCS.name for path in job.files),
            "no documents were generated",
        ),
    }
    for key, (adds_files, reason) in options.items():
        if key in config.model_fields_set and getattr(config, key) and not adds_files():
            yield PackagingWarning(
                message=f"distribution_config.{key} is true but adds no file to the archive: {reason}",
                severity=WarningSeverity.Low,
                remediation=f"Provide the missing input, or remove {key} from the spec.",
            )


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
    """The files that earlier stages created."""
    images = _image_paths(job)
    for path, written in job.files.items():
        archive_path = images.get(path) or _archive_path(path, job.spec)
        if archive_path.parts[0] == DOCS.name and not job.spec.distribution_config.include_documentation:
            continue
        source = job.staging / path
        yield Member(
            path=archive_path,
            content=source,
            size_bytes=written.size_bytes,
            sha256=written.sha256,
            executable=is_executable(source),
            staged=path,
        )


def _archive_path(path: PurePosixPath, spec: PackageSpec) -> PurePosixPath:
    """The path in the archive for a path in the output directory."""
    repository = spec.triton_config.model_repository_path
    if path.is_relative_to(repository):
        return PurePosixPath(TRITON, path.relative_to(repository))
    top, *rest = path.parts
    return PurePosixPath(top, *rest) if top in OUTPUT_DIRECTORIES and rest else PurePosixPath(OTHER, path)


def _image_paths(job: Job) -> dict[PurePosixPath, PurePosixPath]:
    """Archive paths of exported images by output path: each next to its Dockerfile, always under the same name."""
    paths = {}
    for container in job.artifacts.nim_containers:
        if container.image_archive_path is not None:
            dockerfile = PurePosixPath(container.dockerfile_path).relative_to(job.output)
            image = PurePosixPath(container.image_archive_path).relative_to(job.output)
            paths[image] = _archive_path(dockerfile, job.spec).parent / IMAGE_ARCHIVE
    return paths


def _reports(spec: PackageSpec) -> Iterator[Member]:
    config = spec.distribution_config
    tests, benchmarks = config.include_test_reports, config.include_benchmarks
    reports: list[tuple[Path | None, bool, str, str]] = [
        (spec.test_results, tests, "test_results.json", "test_report"),
        (spec.parity_report, tests, "parity_report.json", "test_report"),
        (spec.benchmarks, benchmarks, "benchmarks.json", "benchmark"),
    ]
    for source, included, name, kind in reports:
        if source is not None and included:
            yield file_member(PurePosixPath(TESTS, name), source, kind)


def _license(spec: PackageSpec) -> Iterator[Member]:
    if (license_file := spec.distribution_config.license_file) is not None:
        yield file_member(LICENSE, license_file, "license")
