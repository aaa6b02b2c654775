"""Unpacks compressed streams piece by piece: never more than a bounded piece is in memory, and every byte counts.

A stream that is cut off, changed, or followed by something else is refused.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Protocol

import zstandard

from ...spec.distribution import ArchiveFormat
from .limits import Limits
from .refused import Refused

PIECE = 256 << 10
# a block of zstd makes 128 KiB of 4 bytes, and its library cannot be told to make less: so it is given little at a time
_ZSTD_PIECE = 512
_WINDOW = 128 << 20  # what zstd and xz may take of memory

MAGIC: Mapping[ArchiveFormat, bytes] = {
    ArchiveFormat.TarGz: b"\x1f\x8b\x08",
    ArchiveFormat.TarBz2: b"BZh",
    ArchiveFormat.TarXz: b"\xfd7zXZ\x00",
    ArchiveFormat.TarZst: b"\x28\xb5\x2f\xfd",
    ArchiveFormat.Zip: b"PK\x03\x04",
}


class Stream(Protocol):
    """What unpacks one stream."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended as it should."""

    @property
    def unused_data(self) -> bytes:
        """What was given to it beyond its end."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes without more input."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """At most so many bytes."""


class Inflating:
    """A deflate stream: `wbits` is -15 for a raw one, 31 for one of gzip, whose checksum is checked."""

    def __init__(self, wbits: int) -> None:
        self._stream = zlib.decompressobj(wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        """Whether the stream has ended as it should."""
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        """What was given to it beyond its end."""
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """At most so many bytes."""
        made = self._stream.decompress(self._stream.unconsumed_tail + data, max_length)
        self.needs_input = len(made) < max_length
        return made


class _Zstd:
    needs_input = True

    def __init__(self) -> None:
        self._stream = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._stream.decompress(data)


_STREAMS: Mapping[ArchiveFormat, tuple[Callable[[], Stream], int]] = {
    ArchiveFormat.TarGz: (lambda: Inflating(31), PIECE),
    ArchiveFormat.TarBz2: (bz2.BZ2Decompressor, PIECE),
    ArchiveFormat.TarXz: (lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_WINDOW), PIECE),
    ArchiveFormat.TarZst: (_Zstd, _ZSTD_PIECE),
}


def decompressed(stream: Stream, data: bytes) -> bytes:
    """What `stream` makes of `data`. Raises Refused."""
    try:
        return stream.decompress(data, PIECE)
    # bz2 raises OSError for what is no bzip2, and EOFError comes of what goes on behind an end
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError, ValueError) as error:
        raise Refused(f"its compressed data is damaged: {error}") from None


class Unpacked:
    """The bytes of a compressed file, read in order."""

    def __init__(self, file: BinaryIO, packed: ArchiveFormat, limits: Limits) -> None:
        self._file, self._limits = file, limits
        self._pieces = self._unpack(*_STREAMS[packed])
        self._left = memoryview(b"")
        self._count = 0

    def read(self, size: int) -> bytes:
        """`size` bytes, or less at the end only. Raises Refused; OSError where the file cannot be read."""
        made = bytearray()
        while len(made) < size:
            if not self._left:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._left = memoryview(piece)
            wanted = size - len(made)
            made += self._left[:wanted]
            self._left = self._left[wanted:]
        return bytes(made)

    def _unpack(self, new: Callable[[], Stream], step: int) -> Iterator[bytes]:
        data = self._file.read(step)
        while data:  # streams may follow each other, and then are one
            stream = new()
            while not stream.eof:
                piece = decompressed(stream, data)
                data = b""
                if piece:
                    self._count += len(piece)
                    self._limits.check_bytes(self._count, self._file.tell())
                    yield piece
                if stream.needs_input and not stream.eof:
                    data = self._file.read(step)
                    if not data:
                        raise Refused("it is cut off: its compressed data has no end")
            data = stream.unused_data or self._file.read(step)
