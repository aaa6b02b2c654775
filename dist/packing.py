"""Makes one archive from beginning to end: contents, README, manifest, the archive itself, checksums, the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import PurePosixPath

from ..contracts.artifacts import DistributionArchive
from ..contracts.output import PackagingWarning, WarningSeverity
from ..manifest_text import manifest_name, manifest_text
from ..spec.distribution import ChecksumAlgorithm
from ..target import Job
from .archive.archive_manifest import of_archive
from .archive.checksums import checksum_files, checksums
from .archive.contents import contents
from .archive.fallback import warnings, write_one
from .archive.inventory import inventory
from .archive.members import Member, Members, from_bytes
from .archive.plan import Plan
from .archive.readme import readme
from .archive.readme_values import facts
from .archive.rust_source import LeftOut
from .archive.writer import ENDINGS, check_room, human
from .attest.attestations import beside as papers_beside
from .attest.attestations import prepare
from .attest.provenance import Result
from .placing import all_or_nothing

# the digests that the provenance has of the archive, as in-toto calls them
ATTESTED = {ChecksumAlgorithm.SHA256: "sha256", ChecksumAlgorithm.SHA512: "sha512"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """An archive and the `files` that were written for it, relative to the output directory."""

    archive: DistributionArchive
    files: tuple[PurePosixPath, ...]
    warnings: tuple[PackagingWarning, ...]


def pack(job: Job, folder: PurePosixPath) -> Packed:
    """Write the archive of `job`, its README, manifest, SBOM, provenance and checksum files into `folder` of the
    staging folder.

    Raises StageError, with none of them left.
    """
    config = job.spec.distribution_config
    top = f"{job.spec.package_name}-{job.spec.package_version}"
    name = top + ENDINGS[config.archive_format]
    planned, papers = contents(job), prepare(job)
    inside = Members([*planned.members, *papers.inside])
    read_me, manifest = _texts(job, inside, top)
    beside = [each for each in (read_me, manifest) if each is not None]
    members = Members([*inside, *beside])
    plan = Plan(top=top, members=members, epoch=epoch(job.created_at), level=config.compression_level)
    check_room(plan, job.staging, name)
    job.report(f"packing {name}: {len(members)} files, {human(members.size_bytes)}")
    with all_or_nothing(job.staging / folder, name) as files:
        archive = write_one(plan, config, files, job.report)
        name = archive.name
        wanted = config.checksum_algorithms if config.generate_checksums else ()
        digests = checksums(files.place(name), {*wanted, *ATTESTED})
        found = {algorithm: digests[algorithm] for algorithm in wanted}
        attested = {key: digests[algorithm] for algorithm, key in ATTESTED.items()}
        result = Result(name=name, digests=attested, top=top, members=members)
        for each in (*beside, *papers_beside(job, papers, result)):
            files.write(each)
        for file_name, text in checksum_files(name, found).items():
            files.write(from_bytes(file_name, text.encode(), "checksum"))
        size = files.place(name).stat().st_size
    job.report(f"{name}: {human(size)}, {members.size_bytes / size:.2f} times smaller than what it holds")
    made = DistributionArchive(
        archive_name=name,
        archive_path=job.final(folder / name),
        archive_format=archive.packed,
        compressed_size_bytes=size,
        uncompressed_size_bytes=members.size_bytes,
        contents=inventory(members),
        checksums=found,
        manifest_path=None if manifest is None else job.final(folder / manifest.path),
        readme_path=None if read_me is None else job.final(folder / read_me.path),
    )
    told = (*_left_out(planned.left_out), *papers.warnings, *warnings(archive))
    return Packed(archive=made, files=tuple(folder / each for each in files.names), warnings=told)


def epoch(created_at: str) -> int:
    """Seconds since 1970 of a time in a contract; 0 for what is before, which not every tar can hold."""
    moment = datetime.strptime(created_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return max(int(moment.timestamp()), 0)


def _texts(job: Job, members: Members, top: str) -> tuple[Member | None, Member | None]:
    """README and manifest, each where it is wanted. Both are small: they are kept in memory."""
    config, manifest = job.spec.distribution_config, job.manifest()
    read_me = None
    if config.generate_readme:
        name, text = readme(config, facts(job, members, manifest, top=top))
        read_me = from_bytes(name, text.encode(), "readme")
    if not config.generate_manifest:
        return read_me, None
    listed = of_archive(manifest, Members([*members, *([read_me] if read_me else [])]))
    how = config.manifest_format
    return read_me, from_bytes(manifest_name(how), manifest_text(listed, how).encode(), "manifest")


def _left_out(found: tuple[LeftOut, ...]) -> Iterator[PackagingWarning]:
    for each in found:
        keep = "list it with ! before it in distribution_config.source_exclude" if each.is_secret else ""
        yield PackagingWarning(
            message=f"left out of the archive's src/: {each.sentence}",
            severity=WarningSeverity.Medium if each.is_secret else WarningSeverity.Low,
            remediation=f"Nothing, if it is a secret; to ship it, {keep}."
            if keep
            else "Nothing, unless the source cannot be built without it.",
        )
