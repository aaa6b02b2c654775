"""Compressors of the archive formats: the meaning of a level in each, and how a stream is split for several cores.

The output is standard: gzip blocks form one member (as with pigz), bzip2 and xz blocks are concatenated streams (as
with pbzip2 and pixz), and zstd's library has its own threads.
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
from .blocks import Block, BlockCompressor, CompressionWorkers, Compressor

if TYPE_CHECKING:
    import zstandard

_MIB = 1 << 20
_DEFLATE_BLOCK_BYTES = _MIB
_XZ_BLOCK_BYTES = 4 * _MIB
# for levels 0 to 6: size of the dictionary, at most that of a block, and memory of an encoder with that dictionary
_XZ_DICTIONARY_KIB = (256, 1024, 2048, 2048, 2048, 2048, 2048)
_XZ_WORKER_MIB = (4, 9, 17, 18, 25, 25, 25)
# zstd's levels for levels 0 to 9; its own range ends at 19, where it takes more than a second per megabyte
ZSTD_LEVELS = (1, 1, 2, 3, 5, 7, 9, 12, 15, 19)
_ZSTD_JOB_BYTES = 4 * _MIB
_ZSTD_WORKER_MIB = (12, 12, 14, 16, 24, 32, 40, 48, 48, 96)


class CompressionFailed(Exception):
    """Raised if a compressor fails; the text is the reason."""


def deflate(level: int, workers: CompressionWorkers) -> Compressor:
    """Create a compressor for raw deflate, as in ZIP: a single stream; each block uses the end of the previous one as
    its dictionary."""
    work = functools.partial(_deflate_block, level)
    return BlockCompressor(workers, work, block_bytes=_DEFLATE_BLOCK_BYTES, worker_bytes=4 * _MIB)


def _deflate_block(level: int, block: Block) -> bytes:
    if block.history and level:
        stream = zlib.compressobj(level, zlib.DEFLATED, -15, zdict=block.history)
    else:
        stream = zlib.compressobj(level, zlib.DEFLATED, -15)
    return stream.compress(block.data) + stream.flush(zlib.Z_FINISH if block.last else zlib.Z_SYNC_FLUSH)


class _Gzip:
    """A single gzip member whose header has neither a name nor a time."""

    def __init__(self, level: int, workers: CompressionWorkers) -> None:
        self._deflate = deflate(level, workers)
        speed = {9: 2, 1: 4}.get(level, 0)
        self._header = struct.pack("<4BL2B", 0x1F, 0x8B, 8, 0, 0, speed, 255)
        self._crc = self._size = 0

    def compress(self, data: bytes, /) -> bytes:
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        header, self._header = self._header, b""
        return header + self._deflate.compress(data)

    def flush(self) -> bytes:
        return self._header + self._deflate.flush() + struct.pack("<2L", self._crc, self._size & 0xFFFFFFFF)


def _bzip2(level: int, workers: CompressionWorkers) -> Compressor:
    level = max(level, 1)
    # a stream contains 8 of bzip2's own blocks, each slightly smaller than its maximum
    return BlockCompressor(
        workers,
        lambda block: bz2.compress(block.data, level),
        block_bytes=8 * (level * 100_000 - 100),
        worker_bytes=24 * _MIB,
    )


def _xz(level: int, workers: CompressionWorkers) -> Compressor:
    """Create a compressor for xz. Levels 7 to 9 write a single stream, because their purpose is a large dictionary,
    which finds repetitions that are far apart; they need 190, 370 and 680 MB of memory."""
    if level >= len(_XZ_DICTIONARY_KIB):
        return lzma.LZMACompressor(preset=level)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": level, "dict_size": _XZ_DICTIONARY_KIB[level] << 10}]
    return BlockCompressor(
        workers,
        lambda block: lzma.compress(block.data, check=lzma.CHECK_CRC64, filters=filters),
        block_bytes=_XZ_BLOCK_BYTES,
        worker_bytes=_XZ_WORKER_MIB[level] * _MIB + 2 * _XZ_BLOCK_BYTES,
    )


class _Zstd:
    """A single zstd frame with a checksum. It always uses at least one thread of the library: only then does the
    library split the input into jobs of equal size."""

    def __init__(self, level: int, workers: CompressionWorkers) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        try:
            parameters = zstandard.ZstdCompressionParameters.from_level(
                ZSTD_LEVELS[level],
                threads=workers.count(_ZSTD_WORKER_MIB[level] * _MIB),
                job_size=_ZSTD_JOB_BYTES,
                write_checksum=True,
                write_content_size=False,
            )
            self._stream: zstandard.ZstdCompressionObj = zstandard.ZstdCompressor(
                compression_params=parameters
            ).compressobj()
        except zstandard.ZstdError as error:
            raise CompressionFailed(str(error)) from None

    def compress(self, data: bytes, /) -> bytes:
        try:
            return self._stream.compress(data)
        except self._error as error:
            raise CompressionFailed(str(error)) from None

    def flush(self) -> bytes:
        try:
            return self._stream.flush()
        except self._error as error:
            raise CompressionFailed(str(error)) from None


# compressors of tar archives
COMPRESSORS: Mapping[ArchiveFormat, Callable[[int, CompressionWorkers], Compressor]] = {
    ArchiveFormat.TarGz: _Gzip,
    ArchiveFormat.TarBz2: _bzip2,
    ArchiveFormat.TarXz: _xz,
    ArchiveFormat.TarZst: _Zstd,
}
