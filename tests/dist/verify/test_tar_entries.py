"""Invalid tar streams, each rejected with the reason."""

from __future__ import annotations

import io
import tarfile
from typing import Literal

import pytest

from portalis.dist.verify.entries import EntryKind, ReadLimits, UnsafeArchive
from portalis.dist.verify.tar_entries import tar_entries

from .hostile import tar_of


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, style: Literal[0, 1, 2] = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(style)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def rejection(data: bytes) -> str:
    """The reason for rejecting the stream `data`."""
    with pytest.raises(UnsafeArchive) as caught:
        for _ in tar_entries(io.BytesIO(data), ReadLimits()):
            pass
    return caught.value.message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (header("a", tarfile.SYMTYPE, 5) + padded(b"hello"), "'a' is a symbolic link but has content"),
        (header("a", tarfile.DIRTYPE, 5) + padded(b"hello"), "'a' is a directory but has content"),
        (header("a", b"S"), "'a' has the entry type b'S', which packages do not use"),
        (b"x" * 512 * 3, "the tar data is damaged"),
        (header("a", size=512), "the archive is truncated in 'a'"),
        (header("a", size=3) + b"abc" + b"x" * 509, "'a' has data after its end"),
        (header("a", size=-1, style=tarfile.GNU_FORMAT), "'a' has a negative size"),
        (bytes(512) + b"x" * 512, "does not end with two blocks of zeros"),
        (bytes(1024) + b"x", "has data after the end of the tar data"),
        (header("@", tarfile.GNUTYPE_LONGNAME, 2) + padded(b"\xff\0"), "a long name in the archive is not UTF-8"),
        (
            header("@", tarfile.GNUTYPE_LONGNAME, 2) + padded(b"b\0") + bytes(1024),
            "an extended header in the archive is not followed by an entry",
        ),
        (
            header("@", tarfile.XHDTYPE, 9) + padded(b"9 path=a\n") + bytes(1024),
            "an extended header in the archive is not followed by an entry",
        ),
    ],
)
def test_a_damaged_stream_is_rejected_with_the_reason(data: bytes, reason: str) -> None:
    assert reason in rejection(data)


def test_directories_have_no_slash_and_long_names_are_read_in_both_styles() -> None:
    folder = tarfile.TarInfo("folder")
    folder.type = tarfile.DIRTYPE
    long = "x" * 300
    for style in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        found = [
            (each.name, each.kind)
            for each in tar_entries(io.BytesIO(tar_of({long: b"1"}, [folder], style)), ReadLimits())
        ]
        assert found == [(long, EntryKind.File), ("folder", EntryKind.Folder)]


def test_a_size_that_does_not_fit_into_the_header_is_read_from_the_extended_header() -> None:
    """A file of 8 GiB without its content."""
    info = tarfile.TarInfo("large")
    info.size = 8**11
    assert rejection(info.tobuf(tarfile.PAX_FORMAT)) == "the archive is truncated in 'large'"
