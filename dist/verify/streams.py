"""Decompresses archives incrementally: only a bounded chunk is in memory, and every byte of the file is checked.

A stream that is truncated, damaged, or followed by other data is rejected.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Protocol

import zstandard

from ...spec.distribution import ArchiveFormat
from .entries import ReadLimits, UnsafeArchive

CHUNK_BYTES = 256 << 10
# a zstd block decompresses to 128 KiB from 4 bytes, and the library cannot limit its output: so its input is limited
_ZSTD_CHUNK_BYTES = 512
_MAX_WINDOW_BYTES = 128 << 20  # memory of a zstd or xz decompressor

MAGIC: Mapping[ArchiveFormat, bytes] = {
    ArchiveFormat.TarGz: b"\x1f\x8b\x08",
    ArchiveFormat.TarBz2: b"BZh",
    ArchiveFormat.TarXz: b"\xfd7zXZ\x00",
    ArchiveFormat.TarZst: b"\x28\xb5\x2f\xfd",
    ArchiveFormat.Zip: b"PK\x03\x04",
}


class Decompressor(Protocol):
    """A decompressor of one stream, as in bz2 and lzma."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was reached."""

    @property
    def unused_data(self) -> bytes:
        """Input after the end of the stream."""

    @property
    def needs_input(self) -> bool:
        """Whether more output requires more input."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Add `data`, and return up to `max_length` bytes."""


class InflateStream:
    """A decompressor for deflate. `wbits` is -15 for a raw stream, 31 for a gzip member, whose checksum is verified."""

    def __init__(self, wbits: int) -> None:
        self._stream = zlib.decompressobj(wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was reached."""
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        """Input after the end of the stream."""
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Add `data`, and return up to `max_length` bytes."""
        output = self._stream.decompress(self._stream.unconsumed_tail + data, max_length)
        self.needs_input = len(output) < max_length
        return output


class _ZstdStream:
    """A decompressor for a zstd frame. It ignores `max_length`: see `_ZSTD_CHUNK_BYTES`."""

    needs_input = True

    def __init__(self) -> None:
        self._stream = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj()

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._stream.decompress(data)


_DECOMPRESSORS: Mapping[ArchiveFormat, tuple[Callable[[], Decompressor], int]] = {
    ArchiveFormat.TarGz: (lambda: InflateStream(31), CHUNK_BYTES),
    ArchiveFormat.TarBz2: (bz2.BZ2Decompressor, CHUNK_BYTES),
    ArchiveFormat.TarXz: (lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_WINDOW_BYTES), CHUNK_BYTES),
    ArchiveFormat.TarZst: (_ZstdStream, _ZSTD_CHUNK_BYTES),
}


def decompress_chunk(stream: Decompressor, data: bytes) -> bytes:
    """Add `data` to `stream`, and return up to `CHUNK_BYTES` of output. Raises UnsafeArchive for damaged data."""
    try:
        return stream.decompress(data, CHUNK_BYTES)
    # bz2 raises OSError for invalid data, and EOFError for input after the end
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError, ValueError) as error:
        raise UnsafeArchive(f"the compressed data is damaged: {error}") from None


class DecompressedFile:
    """The decompressed content of a file, read sequentially."""

    def __init__(self, file: BinaryIO, archive_format: ArchiveFormat, limits: ReadLimits) -> None:
        self._file, self._limits = file, limits
        self._chunks = self._decompress(*_DECOMPRESSORS[archive_format])
        self._buffered = memoryview(b"")
        self._count = 0

    def read(self, size: int) -> bytes:
        """Read `size` bytes; fewer only at the end. Raises UnsafeArchive, and OSError if the file cannot be read."""
        data = bytearray()
        while len(data) < size:
            if not self._buffered:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._buffered = memoryview(chunk)
            missing = size - len(data)
            data += self._buffered[:missing]
            self._buffered = self._buffered[missing:]
        return bytes(data)

    def _decompress(self, new_stream: Callable[[], Decompressor], input_bytes: int) -> Iterator[bytes]:
        data = self._file.read(input_bytes)
        while data:  # concatenated streams are read as one
            stream = new_stream()
            while not stream.eof:
                chunk = decompress_chunk(stream, data)
                data = b""
                if chunk:
                    self._count += len(chunk)
                    self._limits.check_bytes(self._count, self._file.tell())
                    yield chunk
                if stream.needs_input and not stream.eof:
                    data = self._file.read(input_bytes)
                    if not data:
                        raise UnsafeArchive("the archive is truncated: its compressed data has no end")
            data = stream.unused_data or self._file.read(input_bytes)
