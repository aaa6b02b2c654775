"""The distribution target: one archive of the package, with its checksums, README and manifest beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import PurePosixPath

from ..contracts.output import Artifacts
from ..problems import Problem
from ..spec import PackageSpec
from ..target import Job, TargetResult
from .archive.asked import nothing_to_include
from .archive.contents import STAGED
from .archive.paths import file_name_trouble
from .attest.attestations import problems as paper_problems
from .packing import pack

FOLDER = PurePosixPath("archives")
_RESERVED = (FOLDER.name, *STAGED)


def skip_reason(spec: PackageSpec) -> str | None:
    """Why the spec does not want an archive; None where it does."""
    return None if spec.enable_distribution_archive else "enable_distribution_archive is false"


def spec_problems(spec: PackageSpec) -> Iterator[Problem]:
    """Names that cannot be those of files, and settings that contradict each other."""
    if (why := file_name_trouble(spec.package_name)) is not None:
        yield Problem(where="package_name", message=f"{spec.package_name!r} {why}, and the archive is called by it")
    for i, module in enumerate(spec.wasm_binaries):
        if (why := file_name_trouble(module.module_name)) is not None:
            where = f"wasm_binaries[{i}].{'path' if module.name is None else 'name'}"
            message = f"{module.module_name!r} {why}, and the archive has the module's file by it"
            yield Problem(where=where, message=message, remediation="Give the module another `name`.")
    repository = spec.triton_config.model_repository_path
    if repository.parts and repository.parts[0] in _RESERVED:
        yield Problem(
            where="triton_config.model_repository_path",
            message=f"{str(repository)!r} is in the folder of another target",
            remediation="Choose a folder of its own, such as triton.",
        )
    config = spec.distribution_config
    if config.generate_checksums and not config.checksum_algorithms:
        yield Problem(
            where="distribution_config.checksum_algorithms",
            message="generate_checksums is true, but no algorithm is listed",
            remediation="List some, such as SHA256, or set generate_checksums to false.",
        )
    yield from paper_problems(spec)


def generate(job: Job) -> TargetResult:
    """Nothing yet: an archive does not fit into memory, and what lies beside it is of no use without it. So `run`
    makes all of it, or nothing."""
    return TargetResult()


def run(job: Job, made: TargetResult) -> TargetResult:
    """Write the archive and what belongs to it into the staging folder. Raises StageError, with nothing left there."""
    packed = pack(job, FOLDER)
    return dataclasses.replace(
        made,
        artifacts=made.artifacts.joined(Artifacts(distribution_archives=(packed.archive,))),
        tool_outputs=(*made.tool_outputs, *packed.files),
        warnings=(*made.warnings, *packed.warnings, *nothing_to_include(job)),
    )
