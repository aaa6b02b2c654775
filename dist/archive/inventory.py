"""Inventory and manifest of an archive: both list the files that it contains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath

from ...contracts.artifacts import ArchiveInventory, DirectoryEntry
from ...contracts.package_manifest import ArtifactEntry, ArtifactsInventory, PackageManifest
from .contents import DESCRIPTIONS
from .members import Member, Members


def archive_inventory(members: Members) -> ArchiveInventory:
    """Count all files and directories below the archive's top directory, for the report.

    `file_types` has the file name endings without the dot, in lower case, and "" for files without one; `directories`
    has the first-level directories with the number of files in each, subdirectories included.
    """
    types = Counter(member.path.suffix.lstrip(".").lower() for member in members)
    counts = Counter(member.path.parts[0] for member in members if len(member.path.parts) > 1)
    return ArchiveInventory(
        total_files=len(members),
        total_directories=len(members.folders),
        file_types=dict(sorted(types.items())),
        directories=tuple(
            DirectoryEntry(name=name, path=f"{name}/", description=DESCRIPTIONS[name], file_count=counts[name])
            for name in sorted(counts)
        ),
    )


def archive_manifest(manifest: PackageManifest, members: Members) -> PackageManifest:
    """Create the manifest of an archive from the package's: paths are those in the archive, and files that are not in
    the archive are removed.

    `distribution_archives` lists the files that only an archive contains: modules, source, reports, README and license.
    So the manifest lists every file except itself, with size and digest.
    """
    by_output_path = {member.staged: member for member in members if member.staged is not None}
    kinds = {
        kind: _relocated(getattr(manifest.artifacts, kind), by_output_path)
        for kind in type(manifest.artifacts).model_fields
    }
    listed = {entry.path for entries in kinds.values() for entry in entries}
    added = tuple(_entry(member) for member in members if str(member.path) not in listed)
    artifacts = ArtifactsInventory(**{**kinds, "distribution_archives": kinds["distribution_archives"] + added})
    return manifest.model_copy(update={"artifacts": artifacts})


def _relocated(
    entries: tuple[ArtifactEntry, ...], by_output_path: Mapping[PurePosixPath, Member]
) -> tuple[ArtifactEntry, ...]:
    pairs = ((entry, by_output_path.get(PurePosixPath(entry.path))) for entry in entries)
    return tuple(entry.model_copy(update={"path": str(member.path)}) for entry, member in pairs if member is not None)


def _entry(member: Member) -> ArtifactEntry:
    return ArtifactEntry(
        name=member.path.name,
        path=str(member.path),
        size_bytes=member.size_bytes,
        checksum_sha256=member.sha256,
        artifact_type=member.kind or "file",
    )
