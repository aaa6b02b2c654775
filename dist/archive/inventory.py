"""The inventory of an archive for the report: how many files of which kind, and what each top folder is."""

from __future__ import annotations

from collections import Counter

from ...contracts.artifacts import ArchiveInventory, DirectoryEntry
from .contents import DESCRIPTIONS
from .members import Members


def inventory(members: Members) -> ArchiveInventory:
    """Counts of all files and folders below the archive's own top folder.

    `file_types` has endings without their dot, in lower case, and the empty text for files without one;
    `directories` are those at the top, with all files below each.
    """
    types = Counter(member.path.suffix.lstrip(".").lower() for member in members)
    below = Counter(member.path.parts[0] for member in members if len(member.path.parts) > 1)
    return ArchiveInventory(
        total_files=len(members),
        total_directories=len(members.folders),
        file_types=dict(sorted(types.items())),
        directories=tuple(
            DirectoryEntry(name=name, path=f"{name}/", description=DESCRIPTIONS[name], file_count=below[name])
            for name in sorted(below)
        ),
    )
