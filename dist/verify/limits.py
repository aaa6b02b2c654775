"""How much of an archive is read before it is taken for one that only means harm."""

from __future__ import annotations

from dataclasses import dataclass

from ..archive.writer import human
from .refused import Refused

# below this no ratio is held against an archive: a small file may well be nothing but zeros
RATIO_FROM_BYTES = 64 << 20
SMALL_FILE_BYTES = 16 << 20  # of what is kept in memory, such as the manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`max_bytes` is what all files may hold together, `max_ratio` how many times more that may be than the archive."""

    max_entries: int = 100_000
    max_bytes: int = 64 << 30
    max_ratio: int = 200

    def check_bytes(self, unpacked: int, packed: int) -> None:
        """Raise Refused for a bomb: `unpacked` bytes came out of `packed` bytes so far."""
        if unpacked > self.max_bytes:
            raise Refused(
                f"it unpacks to more than {human(self.max_bytes)}",
                "Where it may be that large, raise the limit with --max-bytes.",
            )
        if unpacked > max(RATIO_FROM_BYTES, packed * self.max_ratio):
            raise Refused(
                f"it unpacks to more than {self.max_ratio} times what it takes ({human(packed)} became"
                f" {human(unpacked)}), as only a bomb does",
                "Where you know what is in it, raise the limit with --max-ratio.",
            )

    def check_entries(self, count: int) -> None:
        """Raise Refused for more files and folders than an archive may have."""
        if count > self.max_entries:
            raise Refused(
                f"it has more than {self.max_entries} files and folders",
                "Where it may have so many, raise the limit with --max-entries.",
            )
