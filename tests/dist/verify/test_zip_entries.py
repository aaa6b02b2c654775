"""ZIP files with a changed number or name, each rejected with the reason."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable

import pytest

from portalis.dist.verify.entries import EntryKind, ReadLimits, UnsafeArchive
from portalis.dist.verify.zip_entries import zip_entries

LOCAL, LISTED, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
END_64, LOCATOR = b"PK\x06\x06", b"PK\x06\x07"


def one_file(
    name: str = "a", data: bytes = b"hello", method: int = zipfile.ZIP_STORED, mode: int = 0o100644
) -> bytearray:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, data, method)
    return bytearray(buffer.getvalue())


def zip64(data: bytes = b"hello") -> bytearray:
    """A ZIP64 file with one small file, as written by a program that does not know the size in advance."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("a", "w", force_zip64=True) as file:
        file.write(data)
    small = buffer.getvalue()
    at, size = small.rindex(END), len(small)
    count, length, start = struct.unpack_from("<H2L", small, at + 10)
    end = END_64 + struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, count, count, length, start)
    locator = LOCATOR + struct.pack("<LQL", 0, at, 1)
    assert size == at + 22
    return bytearray(small[:at] + end + locator + small[at:])


def read(data: bytes) -> list[tuple[str, bytes]]:
    entries = zip_entries(io.BytesIO(data), len(data), ReadLimits())
    return [(each.name, b"".join(each.content)) for each in entries]


def changed(make: Callable[[], bytearray], magic: bytes, offset: int, value: bytes) -> bytes:
    data = make()
    at = data.rindex(magic) + offset
    assert data[at : at + len(value)] != value
    data[at : at + len(value)] = value
    return bytes(data)


def deflated() -> bytearray:
    return one_file(data=b"hello" * 99, method=zipfile.ZIP_DEFLATED)


def not_utf8() -> bytearray:
    """A file whose name is UTF-8 in the central directory but not in the local header."""
    data = one_file("ä")
    data[data.index("ä".encode())] = 0xFF
    return data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK", "the archive is truncated"),
        (bytes(22), "the archive is truncated, or has data after its end"),
        (changed(one_file, END, 8, b"\2\0\2\0"), "the central directory is damaged"),
        (changed(lambda: one_file("a" * 60), END, 8, b"\2\0\2\0"), "the central directory does not match"),
        (changed(one_file, END, 8, b"\xff\0\xff\0"), "the central directory is damaged"),
        (changed(one_file, END, 16, b"\0"), "is not directly before its end record"),
        (changed(one_file, LISTED, 0, b"XX"), "the central directory is damaged"),
        (changed(one_file, LISTED, 42, b"\1"), "that is not in the central directory"),
        (changed(one_file, LISTED, 20, b"\x7f"), "does not match the files"),
        (changed(one_file, LOCAL, 8, b"\x08"), "does not match the files: 'a'"),
        (changed(one_file, LOCAL, 0, b"XX"), "does not match the files: 'a'"),
        (changed(one_file, LOCAL, 31, b"j"), "'a' is damaged: its checksum or size differs"),
        (changed(deflated, LOCAL, 31, b"\xff\xff"), "the compressed data is damaged"),
        (bytes(not_utf8()), "has a name that is not UTF-8"),
        (changed(zip64, END_64, 0, b"XX"), "the end records of the archive are damaged"),
        (changed(zip64, LOCATOR, 16, b"\2"), "the end records of the archive are damaged"),
        (changed(zip64, END_64, 16, b"\1"), "the archive is split into several files"),
        (changed(zip64, LOCAL, 31, b"\2"), "has extra fields that packages do not use"),
        (bytes(one_file("a/", b"hello")), "'a/' has the name of a directory but is not one"),
    ],
)
def test_a_damaged_zip_is_rejected_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnsafeArchive) as caught:
        read(data)
    assert reason in caught.value.message


def test_a_file_that_overlaps_the_central_directory_is_rejected() -> None:
    data = one_file()
    for magic, sizes in ((LOCAL, 18), (LISTED, 20)):
        struct.pack_into("<2L", data, data.index(magic) + sizes, 9, 9)
    with pytest.raises(UnsafeArchive, match="does not match the files"):
        read(bytes(data))


def test_bytes_between_the_last_file_and_the_central_directory_are_rejected() -> None:
    data = one_file()
    at = data.index(LISTED)
    data[at:at] = b"more"
    struct.pack_into("<L", data, data.rindex(END) + 16, at + 4)
    with pytest.raises(UnsafeArchive, match="has data after the files"):
        read(bytes(data))


def test_a_zip64_field_without_both_sizes_is_rejected() -> None:
    """The local header declares two numbers, the field has three: programs would read different ones."""
    data = zip64()
    at = data.index(LOCAL) + 31
    assert data[at : at + 4] == struct.pack("<2H", 1, 16)
    data[at + 2 : at + 4] = struct.pack("<H", 24)
    data[at + 20 : at + 20] = bytes(8)
    struct.pack_into("<H", data, data.index(LOCAL) + 28, 28)
    end_64 = data.rindex(END_64)
    struct.pack_into("<Q", data, end_64 + 48, struct.unpack_from("<Q", data, end_64 + 48)[0] + 8)
    struct.pack_into("<Q", data, data.rindex(LOCATOR) + 8, end_64)
    struct.pack_into("<L", data, data.rindex(END) + 16, struct.unpack_from("<L", data, data.rindex(END) + 16)[0] + 8)
    with pytest.raises(UnsafeArchive, match="has extra fields that packages do not use"):
        read(bytes(data))


def test_a_file_that_is_truncated_while_it_is_read_is_rejected() -> None:
    whole = bytes(one_file())
    with pytest.raises(UnsafeArchive, match="the archive is truncated"):
        list(zip_entries(io.BytesIO(whole[:-5]), len(whole), ReadLimits()))


def with_deflated(packed: bytes, data: bytes = b"hello") -> bytes:
    """A ZIP file with one file whose compressed bytes are `packed`, with the size and checksum of `data`."""
    stored = one_file(data=data)
    start, end = stored.index(data), stored.index(LISTED)
    body = stored[:start] + packed + stored[end:]
    for magic, method, sizes in ((LOCAL, 8, 18), (LISTED, 10, 20)):
        at = body.index(magic)
        body[at + method] = zipfile.ZIP_DEFLATED
        struct.pack_into("<L", body, at + sizes, len(packed))
    struct.pack_into("<L", body, body.rindex(END) + 16, len(stored[:start] + packed))
    return bytes(body)


def raw_deflate(data: bytes) -> bytes:
    import zlib

    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize(
    "packed",
    [raw_deflate(b"hello") + b"more", raw_deflate(b"hello")[:-2], raw_deflate(b"hello") + bytes(300 << 10)],
    ids=["data after the end", "truncated", "much data after the end"],
)
def test_a_compressed_file_ends_where_its_entry_ends(packed: bytes) -> None:
    assert read(with_deflated(raw_deflate(b"hello"))) == [("a", b"hello")]
    with pytest.raises(UnsafeArchive, match="has data after the end"):
        read(with_deflated(packed))


def test_a_file_yields_no_more_bytes_than_listed() -> None:
    with pytest.raises(UnsafeArchive, match="its checksum or size differs"):
        read(with_deflated(raw_deflate(b"hello" * 1000)))


def test_zip64_is_read() -> None:
    assert read(bytes(zip64())) == [("a", b"hello")]


def test_links_and_directories_are_not_files() -> None:
    data = one_file("link", b"target", mode=0o120777)
    assert [(e.name, e.kind) for e in zip_entries(io.BytesIO(data), len(data), ReadLimits())] == [
        ("link", EntryKind.Other)
    ]
    data = one_file("folder/", b"", mode=0o040755)
    assert [(e.name, e.kind) for e in zip_entries(io.BytesIO(data), len(data), ReadLimits())] == [
        ("folder", EntryKind.Folder)
    ]
