"""Reads the entries of a tar stream, strictly.

Only what a package needs is taken: files, folders, and long names as pax and GNU tar write them. The walk is our own:
tarfile's reads an extended header of any announced size into memory, follows chains of them by recursion, and passes
over whatever stands behind the end.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Protocol

from .entry import Entry, Kind
from .limits import Limits
from .refused import Refused

_BLOCK = tarfile.BLOCKSIZE
_ZEROS = bytes(_BLOCK)
_MOST_PADDING = 1 << 20  # of zeros at the end: tar pads to 10 KiB, and can be told to pad to more
_MOST_HEADER = 64 << 10
_PIECE = 256 << 10
_OCTAL_LIMIT = 8**11  # a size that fits into a header stands there
_WITHOUT_MEANING = frozenset({"mtime", "atime", "ctime", "uid", "gid", "uname", "gname"})
_OTHERS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
}


class Readable(Protocol):
    """What a tar archive is read from."""

    def read(self, size: int) -> bytes:
        """`size` bytes, or less at the end only."""


def tar_entries(stream: Readable, limits: Limits) -> Iterator[Entry]:
    """The entries in their order. Raises Refused for what is no such archive, or goes beyond `limits`."""
    count = 0
    while (header := _header(stream)) is not None:
        name, size = header.name, header.size
        if header.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            extended = _pax(_small(stream, header)) if header.type == tarfile.XHDTYPE else _long(_small(stream, header))
            header = _header(stream)
            if header is None:
                raise Refused("a long name in it belongs to nothing")
            name, size = extended.get("path", header.name), _size(extended, header)
        limits.check_entries(count := count + 1)
        if header.type in _OTHERS:
            if size:
                raise Refused(f"{name!a} is {_OTHERS[header.type]}, and has content")
            yield Entry(name=name, kind=Kind.Other, what=_OTHERS[header.type])
        elif header.type == tarfile.DIRTYPE:
            if size:
                raise Refused(f"{name!a} is a folder, and has content")
            yield Entry(name=name.removesuffix("/"), kind=Kind.Folder, mode=header.mode)
        elif header.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            content = _content(stream, name, size)
            yield Entry(name=name, kind=Kind.File, mode=header.mode, content=content)
            for _ in content:  # what nobody has read
                pass
        else:
            raise Refused(f"{name!a} is an entry of the type {header.type!a}, which packages do not have")


def _header(stream: Readable) -> tarfile.TarInfo | None:
    """The next header; None at the end, which has to be the end of everything."""
    block = stream.read(_BLOCK)
    if len(block) < _BLOCK:
        raise Refused("it is cut off: the tar archive in it has no end")
    if block == _ZEROS:
        _check_end(stream)
        return None
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise Refused(f"the tar archive in it is damaged: {error}") from None
    if header.size < 0:
        raise Refused(f"{header.name!a} has a size below 0")
    return header


def _check_end(stream: Readable) -> None:
    """A second block of zeros, perhaps more, and nothing else."""
    if stream.read(_BLOCK) != _ZEROS:
        raise Refused("the tar archive in it does not end as it should")
    rest = stream.read(_MOST_PADDING + 1)
    if len(rest) > _MOST_PADDING or rest.count(0) != len(rest):
        raise Refused("something stands behind the end of the tar archive in it")


def _content(stream: Readable, name: str, size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = stream.read(min(left, _PIECE))
        if not piece:
            raise Refused(f"it is cut off in {name!a}")
        left -= len(piece)
        yield piece
    padding = stream.read(-size % _BLOCK)
    if len(padding) != -size % _BLOCK or padding.count(0) != len(padding):
        raise Refused(f"something stands behind the end of {name!a}, or it is cut off there")


def _small(stream: Readable, header: tarfile.TarInfo) -> bytes:
    if header.size > _MOST_HEADER:
        raise Refused(f"an extended header in it is larger than {_MOST_HEADER >> 10} KiB")
    return b"".join(_content(stream, "an extended header", header.size))


def _long(data: bytes) -> dict[str, str]:
    try:
        return {"path": data.removesuffix(b"\0").decode()}
    except UnicodeDecodeError:
        raise Refused("a long name in it is not UTF-8") from None


def _pax(data: bytes) -> dict[str, str]:
    """The records of a pax header: each ``length key=value`` and a newline, where the length counts all of it."""
    found: dict[str, str] = {}
    while data:
        length, _, _ = data[:20].partition(b" ")
        if not length.isdigit() or not len(length) + 3 < int(length) <= len(data):
            raise Refused("an extended header in it is damaged")
        record, data = data[len(length) + 1 : int(length)], data[int(length) :]
        try:
            key, equals, value = record.decode().partition("=")
        except UnicodeDecodeError:
            raise Refused("an extended header in it is not UTF-8") from None
        if not equals or not value.endswith("\n") or key in found:
            raise Refused("an extended header in it is damaged")
        if key not in _WITHOUT_MEANING and key not in ("path", "size"):
            raise Refused(f"an extended header in it has {key!a}, which packages do not have")
        found[key] = value[:-1]
    return found


def _size(extended: dict[str, str], header: tarfile.TarInfo) -> int:
    """The size of what follows. Programs that do not know pax take the header's: the two may not differ."""
    if "size" not in extended:
        return header.size
    text = extended["size"]
    size = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if size < _OCTAL_LIMIT:
        raise Refused(f"{header.name!a} has two sizes")
    return size
