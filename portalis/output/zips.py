"""Writes ZIP files with the same bytes for the same content, member by member.

All members have one time, no owner, and mode 0644 or 0755. Files of 4 GiB and more use ZIP64.
"""

from __future__ import annotations

import shutil
import stat
import time
import zipfile
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

CHUNK = 1 << 20
# ZIP times have no zone, a resolution of two seconds, and a range from 1980 to 2107
EARLIEST_EPOCH = 315_532_800  # 1980, in seconds since 1970
_LAST = (2107, 12, 31, 23, 59, 58)
_UNIX = 3


class Readable(Protocol):
    """The content of a member."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes; none at the end."""
        ...


class Deflater(Protocol):
    """A compressor that produces a raw deflate stream, like zlib's."""

    def compress(self, data: bytes, /) -> bytes:
        """Compress `data`, and return the output that is available."""

    def flush(self) -> bytes:
        """Return the remaining output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipFolder:
    """A directory; `name` has no slash at its end."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipMember:
    """A file. The size must be known in advance, because it decides whether the member needs ZIP64."""

    name: str
    content: AbstractContextManager[Readable]
    size_bytes: int
    executable: bool = False


def write_zip(
    target: BinaryIO,
    entries: Iterable[ZipFolder | ZipMember],
    *,
    epoch: int,
    level: int,
    deflater: Callable[[int], Deflater] | None = None,
) -> None:
    """Write `entries` in their order, deflated at `level`, or stored at level 0; `epoch` is in seconds since 1970.

    `deflater` returns the compressor for a level; zlib's is the default.
    """
    with zipfile.ZipFile(target, "w") as archive:
        for entry in entries:
            if isinstance(entry, ZipFolder):
                info = _header(f"{entry.name}/", epoch, stat.S_IFDIR | 0o755)
                info.external_attr |= 0x10  # MS-DOS's mark of a directory
                archive.writestr(info, b"")
                continue
            info = _header(entry.name, epoch, stat.S_IFREG | (0o755 if entry.executable else 0o644))
            info.compress_type = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
            info._compresslevel = level or None  # type: ignore[attr-defined]
            info.file_size = entry.size_bytes
            with entry.content as file, archive.open(info, "w") as packed:
                if deflater is not None and level:
                    packed._compressor = deflater(level)  # type: ignore[attr-defined]
                shutil.copyfileobj(file, packed, CHUNK)


def _header(name: str, epoch: int, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, min(time.gmtime(max(epoch, EARLIEST_EPOCH))[:6], _LAST))
    info.create_system = _UNIX
    info.external_attr = mode << 16
    return info
