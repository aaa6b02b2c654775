"""Writes an archive as a stream. The same files give the same bytes on every machine.

Paths are sorted, owners are 0, modes are 0644 and 0755, and all entries have the same modification time. The compressed
bytes also depend on the versions of the compression libraries, but not on the number of processors; the uncompressed
content depends on neither.
"""

from __future__ import annotations

import functools
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from ...output import zips
from ...quantities import file_size
from ...spec.distribution import ArchiveFormat
from ..archive_errors import archive_error
from .blocks import CompressionWorkers, Compressor
from .compressors import COMPRESSORS, CompressionFailed, deflate
from .members import ArchivePlan, MemberReader, OpenMember

PROGRESS_BYTES = 128 << 20  # progress is reported each time this many bytes have been packed
_COPY_BYTES = 1 << 20

ARCHIVE_ENDINGS: Mapping[ArchiveFormat, str] = {
    ArchiveFormat.TarGz: ".tar.gz",
    ArchiveFormat.TarBz2: ".tar.bz2",
    ArchiveFormat.TarXz: ".tar.xz",
    ArchiveFormat.Zip: ".zip",
    ArchiveFormat.TarZst: ".tar.zst",
}


def check_free_space(plan: ArchivePlan, folder: Path, name: str) -> None:
    """Raise StageError if the file system of `folder` may not have enough free space for the archive `name`."""
    free, needed = shutil.disk_usage(folder).free, plan.max_bytes
    if free < needed:
        raise archive_error(
            f"not enough free space for the archive {name}: it may need {needed} bytes ({file_size(needed)}),"
            f" and {folder} has {free} bytes ({file_size(free)})",
            archive=name,
            remediation=f"Free {file_size(needed - free)} there, choose an output directory on another file system, or"
            " exclude files with the include_… options of distribution_config.",
            io_errors=["No space left on device"],
        )


def write_archive(
    plan: ArchivePlan,
    path: Path,
    archive_format: ArchiveFormat,
    report: Callable[[str], None],
    *,
    workers: int | None = None,
) -> None:
    """Write the archive to `path` with `workers` threads; by default, as many as processors and memory allow.

    Raises CompressionFailed if the compressor fails at the plan's level, as xz does without enough memory; StageError
    and OSError. The caller removes an incomplete file.
    """
    progress = _Progress(path.name, plan.members.size_bytes, report)
    open_member = functools.partial(MemberReader, progress)
    try:
        with path.open("wb") as target, CompressionWorkers(workers) as threads:
            if archive_format is ArchiveFormat.Zip:
                _write_zip(target, plan, open_member, threads)
            else:
                _write_tar(target, plan, open_member, COMPRESSORS[archive_format](plan.level, threads))
    except (MemoryError, lzma.LZMAError, zlib.error) as error:
        raise CompressionFailed(str(error) or "not enough memory") from None


class _Progress:
    """Counts packed bytes and reports percentages."""

    def __init__(self, name: str, total: int, report: Callable[[str], None]) -> None:
        self._name, self._total, self._report = name, total, report
        self._packed = self._reported = 0

    def __call__(self, count: int) -> None:
        self._packed += count
        if self._packed - self._reported >= PROGRESS_BYTES:
            self._reported = self._packed
            percent = self._packed * 100 // self._total
            self._report(f"packing {self._name}: {percent} % of {file_size(self._total)}")


def _write_zip(target: BinaryIO, plan: ArchivePlan, open_member: OpenMember, workers: CompressionWorkers) -> None:
    """Write a ZIP file, deflated at the plan's level, or stored at level 0."""
    zips.write_zip(
        target,
        _zip_entries(plan, open_member),
        epoch=plan.epoch,
        level=plan.level,
        deflater=lambda level: deflate(level, workers),
    )


def _zip_entries(plan: ArchivePlan, open_member: OpenMember) -> Iterator[zips.ZipFolder | zips.ZipMember]:
    for folder in plan.folders:
        yield zips.ZipFolder(name=str(folder))
    for member in plan.members:
        yield zips.ZipMember(
            name=str(PurePosixPath(plan.top, member.path)),
            content=open_member(member),
            size_bytes=member.size_bytes,
            executable=member.executable,
        )


def _write_tar(target: BinaryIO, plan: ArchivePlan, open_member: OpenMember, compressor: Compressor) -> None:
    """Write a tar archive through `compressor`."""
    stream = _CompressedStream(target, compressor)
    # pax is the standardized format, and stores names and sizes of any length
    with tarfile.TarFile(
        fileobj=cast("BinaryIO", stream), mode="w", format=tarfile.PAX_FORMAT, copybufsize=_COPY_BYTES
    ) as archive:
        for folder in plan.folders:
            info = _tar_header(folder, plan)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
        for member in plan.members:
            info = _tar_header(PurePosixPath(plan.top, member.path), plan)
            info.mode = 0o755 if member.executable else 0o644
            info.size = member.size_bytes
            with open_member(member) as file:
                archive.addfile(info, cast("IO[bytes]", file))
            archive.getmembers().clear()  # TarFile would keep every header until it is closed
    target.write(compressor.flush())


class _CompressedStream:
    """A file that compresses; it has only the methods that tarfile calls."""

    def __init__(self, target: BinaryIO, compressor: Compressor) -> None:
        self._target, self._compressor = target, compressor
        self._position = 0

    def write(self, data: bytes) -> int:
        self._target.write(self._compressor.compress(data))
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position


def _tar_header(path: PurePosixPath, plan: ArchivePlan) -> tarfile.TarInfo:
    info = tarfile.TarInfo(str(path))  # its default owner is 0, without a name
    info.mtime = plan.epoch
    return info
