"""Values for README templates, unescaped, under the names that templates use."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from ... import __version__
from ...contracts.artifacts import ContainerArtifact
from ...contracts.package_manifest import PackageManifest
from ...engines.engine_commands import build_command, load_command, run_command, shell_line
from ...markup import plain
from ...output.package_layout import CONTAINERS, IMAGE_ARCHIVE
from ...spec import PackageSpec
from ...spec.distribution import DistributionConfiguration
from ...target import Job, Module
from .contents import DESCRIPTIONS, LICENSE, TRITON, WASM
from .members import Members


def readme_values(job: Job, members: Members, manifest: PackageManifest, *, top: str) -> dict[str, Any]:
    """Return the values for the README of the archive with `members` below the directory `top`."""
    spec, config = job.spec, job.spec.distribution_config
    platforms = {model.platform.lower() for model in job.artifacts.triton_models}
    return {
        "package": spec.package_name,
        "version": spec.package_version,
        "description": [part for part in spec.description.split("\n\n") if part.strip()],
        "created_at": job.created_at,
        "portalis_version": __version__,
        "folder": top,
        "contents": _contents(members),
        "modules": [_module(module) for module in job.modules],
        "engine": spec.container_config.runtime.value,
        "containers": [_container(spec, container, members) for container in job.artifacts.nim_containers],
        "models": [model.model_name for model in job.artifacts.triton_models],
        "model_repository": TRITON,
        "repository_elsewhere": _output_repository(job),
        "needs_wasm_backend": any(platform.startswith("wasm") for platform in platforms),
        "figures": [{"name": name, "value": value} for name, value in _figures(manifest)],
        "notes": list(manifest.notes),
        "license": config.license_type,
        "license_file": LICENSE if config.license_file is not None else None,
        "publish": config.publish_metadata.model_dump(mode="json"),
        "contact": [{"name": name, "value": value, "is_link": link} for name, value, link in _contact(config)],
    }


def _output_repository(job: Job) -> str | None:
    """The model repository's path in the output directory, quoted for a shell, or None if it is the same in the
    archive. Guides and manifests were written for the output directory and refer to this path."""
    path = job.spec.triton_config.model_repository_path
    return None if str(path) == TRITON else shlex.quote(plain(path))


def _contents(members: Members) -> list[dict[str, str]]:
    present = {member.path.parts[0] for member in members if len(member.path.parts) > 1}
    return [
        {"path": f"{name}/", "description": description}
        for name, description in DESCRIPTIONS.items()
        if name in present
    ]


def _figures(manifest: PackageManifest) -> Iterator[tuple[str, str]]:
    """The known figures of build, tests and performance, each with its unit."""
    build, tests, performance = manifest.build_info, manifest.test_info, manifest.performance_metrics
    yield "Total size of all modules", f"{build.total_wasm_size_bytes} bytes"
    if build.build_time_seconds is not None:
        yield "Build time", f"{build.build_time_seconds:g} s"
    if tests.passed_tests is not None and tests.total_tests is not None:
        yield "Tests passed", f"{tests.passed_tests} of {tests.total_tests}"
    if tests.test_coverage_percent is not None:
        yield "Test coverage", f"{tests.test_coverage_percent:g} %"
    if tests.parity_score_percent is not None:
        yield "Parity with the Python original", f"{tests.parity_score_percent:g} %"
    if performance.speedup_factor is not None:
        yield "Speedup over the Python original", f"{performance.speedup_factor:g} times"


def _contact(config: DistributionConfiguration) -> Iterator[tuple[str, str, bool]]:
    """Name, value, and whether the value is a URL."""
    publish = config.publish_metadata
    entries = (
        ("Author", publish.author, False),
        ("Maintainer", publish.maintainer, False),
        ("Homepage", publish.homepage, True),
        ("Repository", publish.repository, True),
        ("Documentation", publish.documentation_url, True),
        ("Keywords", ", ".join(publish.keywords), False),
        ("Categories", ", ".join(publish.categories), False),
    )
    yield from ((name, value, link) for name, value, link in entries if value)


def _module(module: Module) -> dict[str, Any]:
    return {
        "name": module.name,
        "description": module.binary.description,
        "path": f"{WASM}/{module.name}.wasm",
        "size_bytes": module.inspection.size_bytes,
        "sha256": module.inspection.sha256,
        "wasi_compliant": module.inspection.wasi_compliant,
        "exports": [export.name for export in module.inspection.exports],
    }


def _container(spec: PackageSpec, container: ContainerArtifact, members: Members) -> dict[str, Any]:
    """The values of a container. `folder`, `image` and `image_archive` are quoted for a shell; `prepare`, which loads
    or builds the image, and `run` are command lines."""
    config, folder = spec.container_config, _context_folder(container, members)
    archive, image = folder / IMAGE_ARCHIVE, plain(container.reference)
    exported = archive in {member.path for member in members}
    port = container.exposed_ports[0] if container.exposed_ports else None
    load = load_command(config.runtime, PurePosixPath(plain(archive)))
    build = build_command(config.runtime, image, plain(folder), tag="--tag")
    return {
        "image": shlex.quote(image),
        "folder": shlex.quote(plain(folder)),
        "image_archive": shlex.quote(plain(archive)) if exported else None,
        "port": port,
        "prepare": shell_line(load if exported else build),
        "run": shell_line([plain(argument) for argument in run_command(config, image)]),
    }


def _context_folder(container: ContainerArtifact, members: Members) -> PurePosixPath:
    """The directory of a container's build context in the archive."""
    dockerfile = PurePosixPath(container.dockerfile_path)
    folders = (
        member.path.parent
        for member in members
        if member.staged is not None and dockerfile.parts[-len(member.staged.parts) :] == member.staged.parts
    )
    return next(folders, CONTAINERS)
