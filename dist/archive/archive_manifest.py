"""The manifest of an archive: the package's, speaking of the files as they lie in the archive, of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from ...contracts.package_manifest import ArtifactEntry, ArtifactsInventory, PackageManifest
from .members import Member, Members


def of_archive(manifest: PackageManifest, members: Members) -> PackageManifest:
    """`manifest` with paths inside the archive; what is not in the archive is not in the manifest.

    `distribution_archives` lists the files that only an archive has: modules, source, reports, README and license.
    So the inventory has every file but the manifest itself, with its size and digest.
    """
    placed = {member.staged: member for member in members if member.staged is not None}
    kinds = {kind: _placed(getattr(manifest.artifacts, kind), placed) for kind in type(manifest.artifacts).model_fields}
    known = {entry.path for entries in kinds.values() for entry in entries}
    own = tuple(_entry(member) for member in members if str(member.path) not in known)
    artifacts = ArtifactsInventory(**{**kinds, "distribution_archives": kinds["distribution_archives"] + own})
    return manifest.model_copy(update={"artifacts": artifacts})


def _placed(entries: tuple[ArtifactEntry, ...], placed: Mapping[PurePosixPath, Member]) -> tuple[ArtifactEntry, ...]:
    found = ((entry, placed.get(PurePosixPath(entry.path))) for entry in entries)
    return tuple(entry.model_copy(update={"path": str(member.path)}) for entry, member in found if member is not None)


def _entry(member: Member) -> ArtifactEntry:
    return ArtifactEntry(
        name=member.path.name,
        path=str(member.path),
        size_bytes=member.size_bytes,
        checksum_sha256=member.sha256,
        artifact_type=member.kind or "file",
    )
