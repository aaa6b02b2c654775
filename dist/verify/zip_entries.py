"""Reads the entries of a ZIP file, strictly: what the list at its end says has to be what stands there, all of it.

Programs that unpack go by the list or by the headers before the files; where the two differ, or something lies
between, in front or behind, they see different archives. zipfile only reads the list here.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from .entry import Entry, Kind
from .limits import Limits
from .refused import Refused
from .streams import PIECE, Inflating, decompressed

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCAL = struct.Struct("<4s5H3L2H")
_LIST_BYTES_PER_ENTRY = 1 << 10
_NO_MEANING = 0x806  # of the flags: names in UTF-8, and how hard the compressor has tried
_ZIP64 = 1
_FULL = 0xFFFFFFFF  # a number that stands in a ZIP64 field
_DIFFERENT = "its list of files does not agree with the files"


def zip_entries(file: BinaryIO, size: int, limits: Limits) -> Iterator[Entry]:
    """The entries in the order of their places. Raises Refused for what is no such file, or goes beyond `limits`."""
    start, count = _list_of(file, size)
    limits.check_entries(count)
    if start + count * 46 > size or size - start > (count + 1) * _LIST_BYTES_PER_ENTRY:
        raise Refused("its list of files is damaged")
    try:
        file.seek(0)
        infos = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError) as error:
        raise Refused(f"its list of files is damaged: {error}") from None
    if len(infos) != count:
        raise Refused(_DIFFERENT)
    expected = unpacked = 0
    for info in sorted(infos, key=lambda each: each.header_offset):
        if info.header_offset != expected:
            raise Refused("something stands between the files in it, or in front of them, that its list does not have")
        begin = _check_local(file, info)
        expected = begin + info.compress_size
        if expected > start:
            raise Refused(_DIFFERENT)
        unpacked += info.file_size
        limits.check_bytes(unpacked, size)
        content = _content(file, info, begin)
        yield _entry(info, content)
        for _ in content:
            pass
    if expected != start:
        raise Refused("something stands behind the files in it that its list does not have")


def _list_of(file: BinaryIO, size: int) -> tuple[int, int]:
    """Where the list begins, and how many entries it has. Nothing may follow it but its own end."""
    ends_at = size - _END.size
    magic, disk, first, here, count, length, start, comment = _END.unpack(_at(file, ends_at, _END.size))
    if magic != b"PK\x05\x06" or comment or disk or first or here != count:
        raise Refused("it is cut off, or something stands behind its end")
    list_ends = ends_at
    locator = _LOCATOR.unpack(_at(file, ends_at - _LOCATOR.size, _LOCATOR.size)) if ends_at > 76 else (b"",)
    if locator[0] == b"PK\x06\x07":
        list_ends = ends_at - _LOCATOR.size - _END_64.size
        short = (count, length, start)
        end = _END_64.unpack(_at(file, list_ends, _END_64.size))
        magic, own, _, _, disk, first, here, count, length, start = end
        # programs that do not know ZIP64 take the short numbers: where they say something, it is the same
        agrees = short == (min(count, 0xFFFF), min(length, _FULL), min(start, _FULL))
        if magic != b"PK\x06\x06" or own != _END_64.size - 12 or locator[1:] != (0, list_ends, 1) or not agrees:
            raise Refused("its end is damaged")
        if disk or first or here != count:
            raise Refused("it is one of several parts")
    if start + length != list_ends:
        raise Refused("its list of files is not where it should be")
    return start, count


def _check_local(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where the data of an entry begins; Refused where the header before it is not what the list says."""
    head = _LOCAL.unpack(_at(file, info.header_offset, _LOCAL.size))
    magic, _, flags, method, _, _, crc, packed, size = head[:9]
    name_length, extra_length = int(head[9]), int(head[10])
    name = _at(file, info.header_offset + _LOCAL.size, name_length)
    extra = _at(file, info.header_offset + _LOCAL.size + name_length, extra_length)
    where = info.orig_filename
    if flags & ~_NO_MEANING or info.flag_bits != flags or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Refused(f"{where!a} is encrypted, or packed in a way that packages are not")
    large = _only_zip64(where, extra, ("size", "packed"))
    _only_zip64(where, info.extra, ())
    if large and size == packed == _FULL:
        size, packed = large
    same = (magic, method, crc, packed, size) == (
        b"PK\x03\x04",
        info.compress_type,
        info.CRC,
        info.compress_size,
        info.file_size,
    )
    try:
        name_here = name.decode("utf-8" if flags & 0x800 else "cp437")
    except UnicodeDecodeError:
        raise Refused(f"{where!a} has a name that is not UTF-8") from None
    # zipfile ends a name at a zero byte, and others do not
    if not same or name_here != where or info.filename != where or info.comment:
        raise Refused(f"{_DIFFERENT}, for {where!a}")
    return info.header_offset + _LOCAL.size + name_length + extra_length


def _only_zip64(where: str, extra: bytes, fields: tuple[str, ...]) -> tuple[int, ...]:
    """The numbers of a ZIP64 field; other fields could give the entry another name or owner."""
    if not extra:
        return ()
    if len(extra) < 4 or struct.unpack_from("<2H", extra) != (_ZIP64, len(extra) - 4) or len(extra) % 8 != 4:
        raise Refused(f"{where!a} has fields that packages do not have")
    numbers = struct.unpack_from(f"<{len(extra) // 8}Q", extra, 4)
    if fields and len(numbers) != len(fields):
        raise Refused(f"{where!a} has fields that packages do not have")
    return numbers


def _entry(info: zipfile.ZipInfo, content: Iterator[bytes]) -> Entry:
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if info.filename.endswith("/"):
        if info.file_size or kind not in (0, stat.S_IFDIR):
            raise Refused(f"{info.filename!a} is a folder, and is something else")
        return Entry(name=info.filename[:-1], kind=Kind.Folder, mode=mode)
    if kind not in (0, stat.S_IFREG):
        what = "a symbolic link" if kind == stat.S_IFLNK else "a device, pipe or folder"
        return Entry(name=info.filename, kind=Kind.Other, what=what)
    return Entry(name=info.filename, kind=Kind.File, mode=mode, content=content)


def _content(file: BinaryIO, info: zipfile.ZipInfo, begin: int) -> Iterator[bytes]:
    pieces = _stored(file, info, begin)
    if info.compress_type == zipfile.ZIP_DEFLATED:
        pieces = _inflated(pieces, info)
    crc = size = 0
    for piece in pieces:
        crc, size = zlib.crc32(piece, crc), size + len(piece)
        if size > info.file_size:
            break
        yield piece
    if (crc, size) != (info.CRC, info.file_size):
        raise Refused(f"{info.orig_filename!a} is damaged: it has another checksum or size than the list says")


def _stored(file: BinaryIO, info: zipfile.ZipInfo, begin: int) -> Iterator[bytes]:
    at, end = begin, begin + info.compress_size
    while at < end:
        piece = _at(file, at, min(PIECE, end - at))
        at += len(piece)
        yield piece


def _inflated(pieces: Iterator[bytes], info: zipfile.ZipInfo) -> Iterator[bytes]:
    stream = Inflating(-15)
    for packed in pieces:
        if stream.eof:
            raise Refused(f"something stands behind the end of {info.orig_filename!a}")
        data = packed
        while True:
            yield decompressed(stream, data)
            data = b""
            if stream.needs_input or stream.eof:
                break
    if not stream.eof or stream.unused_data:
        raise Refused(f"{info.orig_filename!a} is cut off, or something stands behind its end")


def _at(file: BinaryIO, place: int, size: int) -> bytes:
    if place < 0:
        raise Refused("it is cut off")
    file.seek(place)
    data = file.read(size)
    if len(data) < size:
        raise Refused("it is cut off")
    return data
