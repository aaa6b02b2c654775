"""The compressors of the formats: what a level means in each, and how a stream is cut so that several cores share it.

Whoever unpacks needs to know none of that: the blocks of gzip are one member (as pigz makes them), those of bzip2 and
xz are streams behind each other (as pbzip2 and pixz make them), and zstd's library has threads of its own.
"""

from __future__ import annotations

import bz2
import functools
import lzma
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ...spec.distribution import ArchiveFormat
from .blocks import Block, Blocks, Compressor, Workers

if TYPE_CHECKING:
    import zstandard

_MIB = 1 << 20
_DEFLATE_BLOCK = _MIB
_XZ_BLOCK = 4 * _MIB
# of levels 0 to 6: the dictionary, which is no larger than a block has use for, and what an encoder with it takes
_XZ_KIB = (256, 1024, 2048, 2048, 2048, 2048, 2048)
_XZ_MIB = (4, 9, 17, 18, 25, 25, 25)
# of 0 to 9; zstd's own go to 19, and need more than a second per megabyte there
ZSTD_LEVELS = (1, 1, 2, 3, 5, 7, 9, 12, 15, 19)
_ZSTD_JOB = 4 * _MIB
_ZSTD_MIB = (12, 12, 14, 16, 24, 32, 40, 48, 48, 96)


class CannotCompress(Exception):
    """A compressor gave up; the text says why."""


def deflate(level: int, workers: Workers) -> Compressor:
    """Raw deflate, as ZIP has it: one stream, each block of which looks back into the one before."""
    work = functools.partial(_deflate_block, level)
    return Blocks(workers, work, block_bytes=_DEFLATE_BLOCK, worker_bytes=4 * _MIB)


def _deflate_block(level: int, block: Block) -> bytes:
    if block.before and level:
        packing = zlib.compressobj(level, zlib.DEFLATED, -15, zdict=block.before)
    else:
        packing = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packing.compress(block.data) + packing.flush(zlib.Z_FINISH if block.last else zlib.Z_SYNC_FLUSH)


class _Gzip:
    """One member, the header of which has neither a name nor a time."""

    def __init__(self, level: int, workers: Workers) -> None:
        self._deflate = deflate(level, workers)
        speed = {9: 2, 1: 4}.get(level, 0)
        self._head = struct.pack("<4BL2B", 0x1F, 0x8B, 8, 0, 0, speed, 255)
        self._crc = self._size = 0

    def compress(self, data: bytes, /) -> bytes:
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        head, self._head = self._head, b""
        return head + self._deflate.compress(data)

    def flush(self) -> bytes:
        return self._head + self._deflate.flush() + struct.pack("<2L", self._crc, self._size & 0xFFFFFFFF)


def _bzip2(level: int, workers: Workers) -> Compressor:
    level = max(level, 1)
    # a stream holds 8 of bzip2's own blocks, each a little less than full
    return Blocks(
        workers,
        lambda block: bz2.compress(block.data, level),
        block_bytes=8 * (level * 100_000 - 100),
        worker_bytes=24 * _MIB,
    )


def _xz(level: int, workers: Workers) -> Compressor:
    """Levels 7 to 9 are one stream with the large dictionaries that they are chosen for: they find what is there twice,
    far apart, and take 190, 370 and 680 MB of memory."""
    if level >= len(_XZ_KIB):
        return lzma.LZMACompressor(preset=level)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": level, "dict_size": _XZ_KIB[level] << 10}]
    return Blocks(
        workers,
        lambda block: lzma.compress(block.data, check=lzma.CHECK_CRC64, filters=filters),
        block_bytes=_XZ_BLOCK,
        worker_bytes=_XZ_MIB[level] * _MIB + 2 * _XZ_BLOCK,
    )


class _Zstd:
    """One frame with a checksum. The library cuts it into jobs of one size whenever it has a thread of its own, and so
    it always has one."""

    def __init__(self, level: int, workers: Workers) -> None:
        import zstandard

        self._failed = zstandard.ZstdError
        try:
            parameters = zstandard.ZstdCompressionParameters.from_level(
                ZSTD_LEVELS[level],
                threads=workers.count(_ZSTD_MIB[level] * _MIB),
                job_size=_ZSTD_JOB,
                write_checksum=True,
                write_content_size=False,
            )
            self._packing: zstandard.ZstdCompressionObj = zstandard.ZstdCompressor(
                compression_params=parameters
            ).compressobj()
        except zstandard.ZstdError as error:
            raise CannotCompress(str(error)) from None

    def compress(self, data: bytes, /) -> bytes:
        try:
            return self._packing.compress(data)
        except self._failed as error:
            raise CannotCompress(str(error)) from None

    def flush(self) -> bytes:
        try:
            return self._packing.flush()
        except self._failed as error:
            raise CannotCompress(str(error)) from None


# what a tar archive becomes
COMPRESSORS: Mapping[ArchiveFormat, Callable[[int, Workers], Compressor]] = {
    ArchiveFormat.TarGz: _Gzip,
    ArchiveFormat.TarBz2: _bzip2,
    ArchiveFormat.TarXz: _xz,
    ArchiveFormat.TarZst: _Zstd,
}
