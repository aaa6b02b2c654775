"""A tar archive inside a compressed stream."""

from __future__ import annotations

import tarfile
from pathlib import PurePosixPath
from typing import IO, BinaryIO, cast

from .blocks import Compressor
from .plan import Plan
from .reading import Read

CHUNK = 1 << 20


def write_tar(target: BinaryIO, plan: Plan, read: Read, compressor: Compressor) -> None:
    """Write the archive of `plan` to `target`, through `compressor`."""
    stream = _Stream(target, compressor)
    # pax is the standardised format, and has room for names and sizes of any length
    with tarfile.TarFile(
        fileobj=cast("BinaryIO", stream), mode="w", format=tarfile.PAX_FORMAT, copybufsize=CHUNK
    ) as archive:
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
    target.write(compressor.flush())


class _Stream:
    """The part of a file that tarfile writes to."""

    def __init__(self, target: BinaryIO, compressor: Compressor) -> None:
        self._target, self._compressor = target, compressor
        self._at = 0

    def write(self, data: bytes) -> int:
        self._target.write(self._compressor.compress(data))
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at


def _header(path: PurePosixPath, plan: Plan) -> tarfile.TarInfo:
    info = tarfile.TarInfo(str(path))  # owner 0 without a name unless told otherwise
    info.mtime = plan.epoch
    return info
