"""The ZIP format, the same bytes for the same files: what writes a ZIP streams its members through this.

Times are one, owners are none, modes 0644 and 0755. Files of 4 GiB and more become ZIP64.
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
# a ZIP's times have no zone and steps of two seconds, and go from 1980 to 2107
_FIRST, _LAST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)
_UNIX = 3


class Readable(Protocol):
    """What a member's bytes are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes."""
        ...


class Deflater(Protocol):
    """Makes a stream of raw deflate, as zlib's compressor does."""

    def compress(self, data: bytes, /) -> bytes:
        """What is compressed by now."""

    def flush(self) -> bytes:
        """The rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipFolder:
    """A folder, `name` without the slash at its end."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipMember:
    """A file. Its size has to be known before: by it the writer knows whether it needs ZIP64."""

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
    """Write `entries` in their order, deflated at `level`, or stored at level 0; `epoch` in seconds since 1970.

    `deflater` makes what compresses a member at a level, in place of zlib.
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
    info = zipfile.ZipInfo(name, min(max(time.gmtime(epoch)[:6], _FIRST), _LAST))
    info.create_system = _UNIX
    info.external_attr = mode << 16
    return info
