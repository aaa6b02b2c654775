"""The formats that are a tar archive inside a compressed stream: gzip, bzip2, xz."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from pathlib import PurePosixPath
from typing import IO, BinaryIO, cast

from .plan import Plan
from .reading import Read

CHUNK = 1 << 20


def write_gzip(target: BinaryIO, plan: Plan, read: Read) -> None:
    """``.tar.gz``; the header has neither a name nor a time."""
    with gzip.GzipFile(filename="", mode="wb", compresslevel=plan.level, fileobj=target, mtime=0) as stream:
        _write_tar(cast("BinaryIO", stream), plan, read)


def write_bzip2(target: BinaryIO, plan: Plan, read: Read) -> None:
    """``.tar.bz2``."""
    with bz2.BZ2File(target, "wb", compresslevel=max(plan.level, 1)) as stream:
        _write_tar(cast("BinaryIO", stream), plan, read)


def write_xz(target: BinaryIO, plan: Plan, read: Read) -> None:
    """``.tar.xz``. Level 6 takes about 100 MB of memory and level 9 about 700 MB; MemoryError where there is less."""
    with lzma.LZMAFile(target, "wb", preset=plan.level) as stream:
        _write_tar(cast("BinaryIO", stream), plan, read)


def _write_tar(stream: BinaryIO, plan: Plan, read: Read) -> None:
    # pax is the standardised format, and has room for names and sizes of any length
    with tarfile.TarFile(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, copybufsize=CHUNK) as archive:
        for folder in plan.folders:
            info = _header(folder, plan)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
        for member in plan.members:
            info = _header(PurePosixPath(plan.top, member.path), plan)
            info.mode = 0o755 if member.executable else 0o644
            info.size = member.size_bytes
            with read(member) as file:
                archive.addfile(info, cast("IO[bytes]", file))
            archive.getmembers().clear()  # it would keep every header until the end


def _header(path: PurePosixPath, plan: Plan) -> tarfile.TarInfo:
    info = tarfile.TarInfo(str(path))  # owner 0 without a name unless told otherwise
    info.mtime = plan.epoch
    return info
