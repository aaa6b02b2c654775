"""Creates a complete archive: contents, README, manifest, the archive itself, attestations, checksum files and the
entry for the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import PurePosixPath

from ..contracts.artifacts import DistributionArchive
from ..contracts.output import PackagingWarning, WarningSeverity
from ..manifest_text import manifest_name, manifest_text
from ..output.file_group import FileGroup, file_group
from ..quantities import file_size
from ..target import Job
from .archive import (
    ARCHIVE_ENDINGS,
    DIGEST_NAMES,
    ArchivePlan,
    Member,
    Members,
    OmittedFile,
    archive_contents,
    archive_inventory,
    archive_manifest,
    bytes_member,
    check_free_space,
    checksum_file_texts,
    fallback_warnings,
    file_checksums,
    readme_values,
    render_readme,
    write_with_fallback,
)
from .archive_errors import archive_error, os_error_text
from .attest.attestations import attestation_members, prepare_attestations
from .attest.provenance import FinishedArchive
from .attest.statement import ATTESTED_ALGORITHMS


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedArchive:
    """An archive, and the `files` that were written for it, relative to the output directory."""

    archive: DistributionArchive
    files: tuple[PurePosixPath, ...]
    warnings: tuple[PackagingWarning, ...]


def pack(job: Job, folder: PurePosixPath) -> PackedArchive:
    """Write the archive of `job`, its README, manifest, SBOM, provenance and checksum files into `folder` of the
    staging directory.

    Raises StageError, after removing all of these files.
    """
    config = job.spec.distribution_config
    top = f"{job.spec.package_name}-{job.spec.package_version}"
    name = top + ARCHIVE_ENDINGS[config.archive_format]
    planned, attestations = archive_contents(job), prepare_attestations(job)
    inside = Members([*planned.members, *attestations.inside])
    readme, manifest = _texts(job, inside, top)
    texts = [each for each in (readme, manifest) if each is not None]
    members = Members([*inside, *texts])
    plan = ArchivePlan(top=top, members=members, epoch=epoch_seconds(job.created_at), level=config.compression_level)
    check_free_space(plan, job.staging, name)
    job.report(f"packing {name}: {len(members)} files, {file_size(members.size_bytes)}")
    try:
        with file_group(job.staging / folder) as files:
            archive = write_with_fallback(plan, config, files, job.report)
            written = archive.name  # differs from `name` if a fallback format was used
            requested = config.checksum_algorithms if config.generate_checksums else ()
            digests = file_checksums(files.path(written), {*requested, *ATTESTED_ALGORITHMS})
            checksums = {algorithm: digests[algorithm] for algorithm in requested}
            attested = {DIGEST_NAMES[algorithm]: digests[algorithm] for algorithm in ATTESTED_ALGORITHMS}
            finished = FinishedArchive(name=written, digests=attested, top=top, members=members)
            for each in (*texts, *attestation_members(job, attestations, finished)):
                _write(files, each)
            for file_name, text in checksum_file_texts(written, checksums).items():
                files.write(file_name, text.encode())
            size = files.path(written).stat().st_size
    except OSError as error:
        raise archive_error(
            f"the archive {name} cannot be written: {os_error_text(error)}",
            archive=name,
            remediation="Make sure that the output directory's file system is writable and has free space, then"
            " package again.",
            io_errors=[os_error_text(error)],
        ) from None
    job.report(f"{written}: {file_size(size)}, compression ratio {members.size_bytes / size:.2f}")
    entry = DistributionArchive(
        archive_name=written,
        archive_path=job.final(folder / written),
        archive_format=archive.archive_format,
        compressed_size_bytes=size,
        uncompressed_size_bytes=members.size_bytes,
        contents=archive_inventory(members),
        checksums=checksums,
        manifest_path=None if manifest is None else job.final(folder / manifest.path),
        readme_path=None if readme is None else job.final(folder / readme.path),
    )
    warnings = (*_omitted_warnings(planned.omitted), *attestations.warnings, *fallback_warnings(archive))
    return PackedArchive(archive=entry, files=tuple(folder / each for each in files.names), warnings=warnings)


def epoch_seconds(created_at: str) -> int:
    """Convert the time in a contract to seconds since 1970; 0 for an earlier time, which not every tar format can
    store."""
    moment = datetime.strptime(created_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return max(int(moment.timestamp()), 0)


def _texts(job: Job, members: Members, top: str) -> tuple[Member | None, Member | None]:
    """README and manifest, each None unless the spec requests it. Both are small and stay in memory."""
    config, manifest = job.spec.distribution_config, job.manifest()
    readme = None
    if config.generate_readme:
        name, text = render_readme(config, readme_values(job, members, manifest, top=top))
        readme = bytes_member(name, text.encode(), "readme")
    if not config.generate_manifest:
        return readme, None
    listed = archive_manifest(manifest, Members([*members, *([readme] if readme else [])]))
    manifest_format = config.manifest_format
    data = manifest_text(listed, manifest_format).encode()
    return readme, bytes_member(manifest_name(manifest_format), data, "manifest")


def _write(files: FileGroup, member: Member) -> None:
    assert isinstance(member.content, bytes)
    files.write(str(member.path), member.content)


def _omitted_warnings(omitted: tuple[OmittedFile, ...]) -> Iterator[PackagingWarning]:
    for each in omitted:
        yield PackagingWarning(
            message=f"omitted from the archive's src/: {each.message}",
            severity=WarningSeverity.Medium if each.is_secret else WarningSeverity.Low,
            remediation="No action is needed if the file is a secret. To ship it, list it in"
            " distribution_config.source_exclude with a ! before it."
            if each.is_secret
            else "No action is needed unless the source cannot be built without the file.",
        )
