"""Reads the entries of a tar stream strictly.

Only the features that a package needs are accepted: files, directories, and long names in the styles of pax and GNU
tar. tarfile is not used to iterate: it reads an extended header of any declared size into memory, follows chains of
such headers by recursion, and ignores data after the end.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Protocol

from .entries import ArchiveEntry, EntryKind, ReadLimits, UnsafeArchive

_BLOCK_BYTES = tarfile.BLOCKSIZE
_ZEROS = bytes(_BLOCK_BYTES)
_MAX_PADDING_BYTES = 1 << 20  # zeros at the end: tar pads to 10 KiB by default, to more with an option
_MAX_HEADER_BYTES = 64 << 10
_CHUNK_BYTES = 256 << 10
_OCTAL_LIMIT = 8**11  # smaller sizes fit into the header itself
_IGNORED_KEYS = frozenset({"mtime", "atime", "ctime", "uid", "gid", "uname", "gname"})
_OTHER_TYPES = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
}


class TarSource(Protocol):
    """The source of a tar stream."""

    def read(self, size: int) -> bytes:
        """Read `size` bytes; fewer only at the end."""


def tar_entries(stream: TarSource, limits: ReadLimits) -> Iterator[ArchiveEntry]:
    """Yield the entries in their order. Raises UnsafeArchive for an invalid stream, and for one that exceeds
    `limits`."""
    count = 0
    while (header := _header(stream)) is not None:
        name, size = header.name, header.size
        if header.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            data = _extended_header(stream, header)
            extended = _pax_records(data) if header.type == tarfile.XHDTYPE else _long_name(data)
            header = _header(stream)
            if header is None:
                raise UnsafeArchive("an extended header in the archive is not followed by an entry")
            name, size = extended.get("path", header.name), _size(extended, header)
        limits.check_entries(count := count + 1)
        if header.type in _OTHER_TYPES:
            if size:
                raise UnsafeArchive(f"{name!a} is {_OTHER_TYPES[header.type]} but has content")
            yield ArchiveEntry(name=name, kind=EntryKind.Other, description=_OTHER_TYPES[header.type])
        elif header.type == tarfile.DIRTYPE:
            if size:
                raise UnsafeArchive(f"{name!a} is a directory but has content")
            yield ArchiveEntry(name=name.removesuffix("/"), kind=EntryKind.Folder, mode=header.mode)
        elif header.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            content = _content(stream, name, size)
            yield ArchiveEntry(name=name, kind=EntryKind.File, mode=header.mode, content=content)
            for _ in content:  # skips the content that the caller has not read
                pass
        else:
            raise UnsafeArchive(f"{name!a} has the entry type {header.type!a}, which packages do not use")


def _header(stream: TarSource) -> tarfile.TarInfo | None:
    """The next header, or None at the end of the archive, after which the stream must end."""
    block = stream.read(_BLOCK_BYTES)
    if len(block) < _BLOCK_BYTES:
        raise UnsafeArchive("the archive is truncated: its tar data has no end")
    if block == _ZEROS:
        _check_end(stream)
        return None
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise UnsafeArchive(f"the tar data is damaged: {error}") from None
    if header.size < 0:
        raise UnsafeArchive(f"{header.name!a} has a negative size")
    return header


def _check_end(stream: TarSource) -> None:
    """Check that a second block of zeros follows, and then only zeros, up to the maximum padding."""
    if stream.read(_BLOCK_BYTES) != _ZEROS:
        raise UnsafeArchive("the tar data does not end with two blocks of zeros")
    rest = stream.read(_MAX_PADDING_BYTES + 1)
    if len(rest) > _MAX_PADDING_BYTES or rest.count(0) != len(rest):
        raise UnsafeArchive("the archive has data after the end of the tar data")


def _content(stream: TarSource, name: str, size: int) -> Iterator[bytes]:
    remaining = size
    while remaining:
        chunk = stream.read(min(remaining, _CHUNK_BYTES))
        if not chunk:
            raise UnsafeArchive(f"the archive is truncated in {name!a}")
        remaining -= len(chunk)
        yield chunk
    padding = stream.read(-size % _BLOCK_BYTES)
    if len(padding) != -size % _BLOCK_BYTES or padding.count(0) != len(padding):
        raise UnsafeArchive(f"{name!a} has data after its end, or the archive is truncated there")


def _extended_header(stream: TarSource, header: tarfile.TarInfo) -> bytes:
    if header.size > _MAX_HEADER_BYTES:
        raise UnsafeArchive(f"an extended header in the archive is larger than {_MAX_HEADER_BYTES >> 10} KiB")
    return b"".join(_content(stream, "an extended header", header.size))


def _long_name(data: bytes) -> dict[str, str]:
    """Parse the long name of GNU tar."""
    try:
        return {"path": data.removesuffix(b"\0").decode()}
    except UnicodeDecodeError:
        raise UnsafeArchive("a long name in the archive is not UTF-8") from None


def _pax_records(data: bytes) -> dict[str, str]:
    """Parse the records of a pax header: each is ``length key=value`` and a newline; the length is that of the
    record."""
    records: dict[str, str] = {}
    while data:
        length, _, _ = data[:20].partition(b" ")
        if not length.isdigit() or not len(length) + 3 < int(length) <= len(data):
            raise UnsafeArchive("an extended header in the archive is damaged")
        record, data = data[len(length) + 1 : int(length)], data[int(length) :]
        try:
            key, equals, value = record.decode().partition("=")
        except UnicodeDecodeError:
            raise UnsafeArchive("an extended header in the archive is not UTF-8") from None
        if not equals or not value.endswith("\n") or key in records:
            raise UnsafeArchive("an extended header in the archive is damaged")
        if key not in _IGNORED_KEYS and key not in ("path", "size"):
            raise UnsafeArchive(f"an extended header in the archive has the key {key!a}, which packages do not use")
        records[key] = value[:-1]
    return records


def _size(extended: dict[str, str], header: tarfile.TarInfo) -> int:
    """The size of the entry's content. Programs without support for pax read the size in the header, so an extended
    header may only contain a size that does not fit there."""
    if "size" not in extended:
        return header.size
    text = extended["size"]
    size = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if size < _OCTAL_LIMIT:
        raise UnsafeArchive(f"{header.name!a} has two sizes, one in its header and one in an extended header")
    return size
