"""Writes an archive: streamed, byte-identical for the same files wherever it runs.

The paths are sorted, owners are 0, modes 0644 and 0755, and everything has one time. The compressed bytes also depend
on the versions of the compression libraries, not on the number of processors; what is in them never depends on either.
"""

from __future__ import annotations

import functools
import lzma
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ...output import zips
from ...quantities import file_size
from ...spec.distribution import ArchiveFormat
from ..archive_errors import failed
from .blocks import Workers
from .compressors import COMPRESSORS, CannotCompress, deflate
from .plan import Plan
from .reading import Read, Reading
from .tarballs import write_tar

STEP = 128 << 20  # progress is told each time that so many bytes are packed

ENDINGS: Mapping[ArchiveFormat, str] = {
    ArchiveFormat.TarGz: ".tar.gz",
    ArchiveFormat.TarBz2: ".tar.bz2",
    ArchiveFormat.TarXz: ".tar.xz",
    ArchiveFormat.Zip: ".zip",
    ArchiveFormat.TarZst: ".tar.zst",
}


def _write_zip(target: BinaryIO, plan: Plan, read: Read, workers: Workers) -> None:
    """Deflated at the plan's level, or stored at level 0."""
    zips.write_zip(
        target,
        _zip_entries(plan, read),
        epoch=plan.epoch,
        level=plan.level,
        deflater=lambda level: deflate(level, workers),
    )


def _zip_entries(plan: Plan, read: Read) -> Iterator[zips.ZipFolder | zips.ZipMember]:
    for folder in plan.folders:
        yield zips.ZipFolder(name=str(folder))
    for member in plan.members:
        yield zips.ZipMember(
            name=str(PurePosixPath(plan.top, member.path)),
            content=read(member),
            size_bytes=member.size_bytes,
            executable=member.executable,
        )


def check_room(plan: Plan, folder: Path, name: str) -> None:
    """Raise StageError where the file system of `folder` may not have room for the archive `name`."""
    free, needed = shutil.disk_usage(folder).free, plan.needed_bytes
    if free < needed:
        raise failed(
            f"the archive {name} may need {needed} bytes ({human(needed)}), and {folder} has {free} bytes"
            f" ({human(free)}) free",
            archive=name,
            remediation=f"Free {human(needed - free)} there, choose an output directory on another file system, or"
            " leave something out with the include_… switches of distribution_config.",
            io_errors=["No space left on device"],
        )


def write(
    plan: Plan, path: Path, packed: ArchiveFormat, say: Callable[[str], None], *, workers: int | None = None
) -> None:
    """Write the archive to `path`, with so many `workers`, or as many as there are processors and memory for.

    Raises CannotCompress where the compressor gives up at the plan's level, as xz does without enough memory;
    StageError and OSError. What was written until then is the caller's to remove.
    """
    progress = _Progress(path.name, plan.members.size_bytes, say)
    read = functools.partial(Reading, progress)
    try:
        with path.open("wb") as target, Workers(workers) as threads:
            if packed is ArchiveFormat.Zip:
                _write_zip(target, plan, read, threads)
            else:
                write_tar(target, plan, read, COMPRESSORS[packed](plan.level, threads))
    except (MemoryError, lzma.LZMAError, zlib.error) as error:
        raise CannotCompress(str(error) or "there is not enough memory") from None


class _Progress:
    """Told of bytes, tells of shares."""

    def __init__(self, name: str, total: int, say: Callable[[str], None]) -> None:
        self._name, self._total, self._say = name, total, say
        self._done = self._told = 0

    def __call__(self, count: int) -> None:
        self._done += count
        if self._done - self._told >= STEP:
            self._told = self._done
            share = self._done * 100 // self._total
            self._say(f"packing {self._name}: {share} % of {human(self._total)}")


def human(count: int) -> str:
    """A number of bytes for people."""
    return file_size(count)
