"""Entries of an archive or a directory as its format lists them, before any check; the limits for reading them, and the
error that stops reading."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from ...quantities import file_size

DOWNLOAD_AGAIN = (
    "Download the archive and the files next to it again. If the error remains, report it to the publisher."
)
# no ratio is enforced below this size: a small file can consist of zeros only
_RATIO_FROM_BYTES = 64 << 20


class UnsafeArchive(Exception):
    """The package is damaged, ambiguous or too large, and must not be read further; with a message and a
    remediation."""

    def __init__(self, message: str, remediation: str = DOWNLOAD_AGAIN) -> None:
        super().__init__(message, remediation)
        self.message = message
        self.remediation = remediation


class EntryKind(Enum):
    """Type of an entry. Packages contain no `Other`: links, devices, pipes, sockets."""

    File = auto()
    Folder = auto()
    Other = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveEntry:
    """An entry. `content` must be read before the next entry is requested; reading it can raise UnsafeArchive."""

    name: str
    kind: EntryKind
    description: str = ""
    """The type of an `Other` entry, for example ``a symbolic link``."""
    mode: int = 0
    content: Iterable[bytes] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """Limits for reading a package: `max_bytes` is the total size of its files, `max_ratio` the maximum ratio of that
    size to the size of the archive. Beyond them, the archive is treated as a decompression bomb."""

    max_entries: int = 100_000
    max_bytes: int = 64 << 30
    max_ratio: int = 200

    def check_bytes(self, unpacked: int, packed: int) -> None:
        """Raise UnsafeArchive if `packed` bytes have unpacked to too many bytes (`unpacked`)."""
        if unpacked > self.max_bytes:
            raise UnsafeArchive(
                f"the files of the package are larger than {file_size(self.max_bytes)} in total",
                "If the package is expected to be that large, raise the limit with --max-bytes.",
            )
        if unpacked > max(_RATIO_FROM_BYTES, packed * self.max_ratio):
            raise UnsafeArchive(
                f"the archive may be a decompression bomb: it unpacks to more than {self.max_ratio} times its size"
                f" ({file_size(packed)} unpack to {file_size(unpacked)})",
                "If the archive is trusted, raise the limit with --max-ratio.",
            )

    def check_entries(self, count: int) -> None:
        """Raise UnsafeArchive for too many files and directories."""
        if count > self.max_entries:
            raise UnsafeArchive(
                f"the package has more than {self.max_entries} files and directories",
                "If the package is expected to have that many, raise the limit with --max-entries.",
            )
