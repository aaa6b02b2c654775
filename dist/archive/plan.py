"""What is to be written, before any format knows of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from .members import Members

# per file or folder: headers of the longest names that are usual, and padding
_HEADERS_BYTES = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An archive: `members` below the folder `top`, everything of the time `epoch` (seconds since 1970)."""

    top: str
    members: Members
    epoch: int
    level: int
    """0 to 9, as the formats have it: 0 stores in gzip and ZIP, and is the lightest preset of xz. bzip2 cannot store:
    there 0 is taken for 1."""

    @property
    def folders(self) -> tuple[PurePosixPath, ...]:
        """All folders of the archive, sorted, the top one first."""
        return (PurePosixPath(self.top), *(PurePosixPath(self.top, folder) for folder in self.members.folders))

    @property
    def needed_bytes(self) -> int:
        """The room that the archive can take when nothing in it can be compressed."""
        count = len(self.members) + len(self.folders)
        return self.members.size_bytes + self.members.size_bytes // 100 + count * _HEADERS_BYTES
