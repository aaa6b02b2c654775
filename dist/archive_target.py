"""The archive target: one distribution archive of the package, with its checksum files, README, manifest and
attestations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ..contracts.output import Artifacts
from ..output.package_layout import ARCHIVES
from ..problems import Problem
from ..spec import PackageSpec
from ..target import Job, TargetResult
from .archive import OUTPUT_DIRECTORIES, file_name_problem, unused_include_warnings
from .attest.attestations import signing_problems
from .packing import pack

_RESERVED = (ARCHIVES.name, *OUTPUT_DIRECTORIES)


def skip_reason(spec: PackageSpec) -> str | None:
    """Return the reason for not creating an archive, or None."""
    return None if spec.enable_distribution_archive else "enable_distribution_archive is false"


def spec_problems(spec: PackageSpec) -> Iterator[Problem]:
    """Yield names that are not valid file names, and settings that contradict each other."""
    if (reason := file_name_problem(spec.package_name)) is not None:
        message = f"{spec.package_name!r} {reason}; the archive is named after the package"
        yield Problem(where="package_name", message=message)
    for i, module in enumerate(spec.wasm_binaries):
        if (reason := file_name_problem(module.module_name)) is not None:
            where = f"wasm_binaries[{i}].{'path' if module.name is None else 'name'}"
            message = f"{module.module_name!r} {reason}; the module's file in the archive is named after the module"
            yield Problem(where=where, message=message, remediation="Give the module another `name`.")
    repository = spec.triton_config.model_repository_path
    if repository.parts and repository.parts[0] in _RESERVED:
        yield Problem(
            where="triton_config.model_repository_path",
            message=f"{str(repository)!r} is in the directory of another target",
            remediation="Choose a separate directory, for example triton.",
        )
    config = spec.distribution_config
    if config.generate_checksums and not config.checksum_algorithms:
        yield Problem(
            where="distribution_config.checksum_algorithms",
            message="generate_checksums is true, but checksum_algorithms is empty",
            remediation="List at least one algorithm, for example SHA256, or set generate_checksums to false.",
        )
    yield from signing_problems(spec)


def generate(job: Job) -> TargetResult:
    """Return an empty result: an archive does not fit into memory, and its sidecar files are useless without it.
    `run` creates all of them, or none."""
    return TargetResult()


def run(job: Job, result: TargetResult) -> TargetResult:
    """Write the archive and its sidecar files into the staging directory.

    Raises StageError, after removing what was written.
    """
    packed = pack(job, ARCHIVES)
    return dataclasses.replace(
        result,
        artifacts=result.artifacts.joined(Artifacts(distribution_archives=(packed.archive,))),
        tool_outputs=(*result.tool_outputs, *packed.files),
        warnings=(*result.warnings, *packed.warnings, *unused_include_warnings(job)),
    )
