"""Reads the entries of a ZIP file strictly: the central directory must match the local headers, and cover the whole
file.

Some programs unpack by the central directory, others by the local headers. If the two differ, or if data precedes,
separates or follows the files, such programs see different archives. zipfile parses only the central directory here.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from .entries import ArchiveEntry, EntryKind, ReadLimits, UnsafeArchive
from .streams import CHUNK_BYTES, InflateStream, decompress_chunk

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCAL = struct.Struct("<4s5H3L2H")
_MIN_LISTED_BYTES = 46  # of an entry in the central directory
_MAX_LISTED_BYTES = 1 << 10  # on average
_IGNORED_FLAGS = 0x806  # names in UTF-8, and the effort of the compressor
_ZIP64 = 1
_IN_ZIP64 = 0xFFFFFFFF  # the value is in a ZIP64 field
_MISMATCH = "the central directory does not match the files"
_DAMAGED = "the central directory is damaged"


def zip_entries(file: BinaryIO, size: int, limits: ReadLimits) -> Iterator[ArchiveEntry]:
    """Yield the entries in the order of their offsets. Raises UnsafeArchive for an invalid file, and for one that
    exceeds `limits`."""
    start, count = _central_directory(file, size)
    limits.check_entries(count)
    if start + count * _MIN_LISTED_BYTES > size or size - start > (count + 1) * _MAX_LISTED_BYTES:
        raise UnsafeArchive(_DAMAGED)
    try:
        file.seek(0)
        infos = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError) as error:
        raise UnsafeArchive(f"{_DAMAGED}: {error}") from None
    if len(infos) != count:
        raise UnsafeArchive(_MISMATCH)
    expected = unpacked = 0
    for info in sorted(infos, key=lambda each: each.header_offset):
        if info.header_offset != expected:
            raise UnsafeArchive("the archive has data before or between the files that is not in the central directory")
        begin = _check_local_header(file, info)
        expected = begin + info.compress_size
        if expected > start:
            raise UnsafeArchive(_MISMATCH)
        unpacked += info.file_size
        limits.check_bytes(unpacked, size)
        content = _content(file, info, begin)
        yield _entry(info, content)
        for _ in content:
            pass
    if expected != start:
        raise UnsafeArchive("the archive has data after the files that is not in the central directory")


def _central_directory(file: BinaryIO, size: int) -> tuple[int, int]:
    """The offset of the central directory and its number of entries. Only its end records may follow it."""
    end_offset = size - _END.size
    magic, disk, first_disk, disk_count, count, length, start, comment = _END.unpack(_read(file, end_offset, _END.size))
    if magic != b"PK\x05\x06" or comment or disk or first_disk or disk_count != count:
        raise UnsafeArchive("the archive is truncated, or has data after its end")
    directory_end = end_offset
    locator_offset = end_offset - _LOCATOR.size
    locator = _LOCATOR.unpack(_read(file, locator_offset, _LOCATOR.size)) if end_offset > 76 else (b"",)
    if locator[0] == b"PK\x06\x07":
        directory_end = locator_offset - _END_64.size
        short = (count, length, start)
        record = _END_64.unpack(_read(file, directory_end, _END_64.size))
        magic, record_size, _, _, disk, first_disk, disk_count, count, length, start = record
        # programs without support for ZIP64 read the short numbers, which must be the same unless they do not fit
        matches = short == (min(count, 0xFFFF), min(length, _IN_ZIP64), min(start, _IN_ZIP64))
        is_valid = magic == b"PK\x06\x06" and record_size == _END_64.size - 12
        if not is_valid or locator[1:] != (0, directory_end, 1) or not matches:
            raise UnsafeArchive("the end records of the archive are damaged")
        if disk or first_disk or disk_count != count:
            raise UnsafeArchive("the archive is split into several files")
    if start + length != directory_end:
        raise UnsafeArchive("the central directory is not directly before its end record")
    return start, count


def _check_local_header(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Return the offset of an entry's data. Raises UnsafeArchive if its local header differs from the central
    directory."""
    name = info.orig_filename
    header = _LOCAL.unpack(_read(file, info.header_offset, _LOCAL.size))
    magic, _, flags, method, _, _, crc, packed, size = header[:9]
    name_length, extra_length = int(header[9]), int(header[10])
    local_name = _read(file, info.header_offset + _LOCAL.size, name_length)
    extra = _read(file, info.header_offset + _LOCAL.size + name_length, extra_length)
    if flags & ~_IGNORED_FLAGS or info.flag_bits != flags or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnsafeArchive(f"{name!a} is encrypted, or has a flag or compression method that packages do not use")
    large = _zip64_numbers(name, extra, ("size", "packed"))
    _zip64_numbers(name, info.extra, ())
    if large and size == packed == _IN_ZIP64:
        size, packed = large
    is_same = (magic, method, crc, packed, size) == (
        b"PK\x03\x04",
        info.compress_type,
        info.CRC,
        info.compress_size,
        info.file_size,
    )
    try:
        decoded_name = local_name.decode("utf-8" if flags & 0x800 else "cp437")
    except UnicodeDecodeError:
        raise UnsafeArchive(f"{name!a} has a name that is not UTF-8") from None
    # zipfile ends a name at a zero byte, other programs do not
    if not is_same or decoded_name != name or info.filename != name or info.comment:
        raise UnsafeArchive(f"{_MISMATCH}: {name!a}")
    return info.header_offset + _LOCAL.size + name_length + extra_length


def _zip64_numbers(name: str, extra: bytes, fields: tuple[str, ...]) -> tuple[int, ...]:
    """The numbers of a ZIP64 extra field. Other extra fields are rejected: they can set a different name or owner."""
    if not extra:
        return ()
    if len(extra) < 4 or struct.unpack_from("<2H", extra) != (_ZIP64, len(extra) - 4) or len(extra) % 8 != 4:
        raise UnsafeArchive(f"{name!a} has extra fields that packages do not use")
    numbers = struct.unpack_from(f"<{len(extra) // 8}Q", extra, 4)
    if fields and len(numbers) != len(fields):
        raise UnsafeArchive(f"{name!a} has extra fields that packages do not use")
    return numbers


def _entry(info: zipfile.ZipInfo, content: Iterator[bytes]) -> ArchiveEntry:
    mode = info.external_attr >> 16
    file_type = stat.S_IFMT(mode)
    if info.filename.endswith("/"):
        if info.file_size or file_type not in (0, stat.S_IFDIR):
            raise UnsafeArchive(f"{info.filename!a} has the name of a directory but is not one")
        return ArchiveEntry(name=info.filename[:-1], kind=EntryKind.Folder, mode=mode)
    if file_type not in (0, stat.S_IFREG):
        description = "a symbolic link" if file_type == stat.S_IFLNK else "a device, pipe or directory"
        return ArchiveEntry(name=info.filename, kind=EntryKind.Other, description=description)
    return ArchiveEntry(name=info.filename, kind=EntryKind.File, mode=mode, content=content)


def _content(file: BinaryIO, info: zipfile.ZipInfo, begin: int) -> Iterator[bytes]:
    chunks = _stored(file, info, begin)
    if info.compress_type == zipfile.ZIP_DEFLATED:
        chunks = _inflated(chunks, info)
    crc = size = 0
    for chunk in chunks:
        crc, size = zlib.crc32(chunk, crc), size + len(chunk)
        if size > info.file_size:
            break
        yield chunk
    if (crc, size) != (info.CRC, info.file_size):
        message = f"{info.orig_filename!a} is damaged: its checksum or size differs from the central directory"
        raise UnsafeArchive(message)


def _stored(file: BinaryIO, info: zipfile.ZipInfo, begin: int) -> Iterator[bytes]:
    offset, end = begin, begin + info.compress_size
    while offset < end:
        chunk = _read(file, offset, min(CHUNK_BYTES, end - offset))
        offset += len(chunk)
        yield chunk


def _inflated(chunks: Iterator[bytes], info: zipfile.ZipInfo) -> Iterator[bytes]:
    stream = InflateStream(-15)
    for packed in chunks:
        if stream.eof:
            raise UnsafeArchive(f"{info.orig_filename!a} has data after the end of its compressed data")
        data = packed
        while True:
            yield decompress_chunk(stream, data)
            data = b""
            if stream.needs_input or stream.eof:
                break
    if not stream.eof or stream.unused_data:
        raise UnsafeArchive(f"{info.orig_filename!a} is truncated, or has data after the end of its compressed data")


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    if offset < 0:
        raise UnsafeArchive("the archive is truncated")
    file.seek(offset)
    data = file.read(size)
    if len(data) < size:
        raise UnsafeArchive("the archive is truncated")
    return data
