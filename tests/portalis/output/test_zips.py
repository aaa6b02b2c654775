"""A ZIP has the same bytes for the same members, and other programs read it."""

from __future__ import annotations

import io
import stat
import zipfile

import pytest

from portalis.output.zips import ZipFolder, ZipMember, write_zip


def written(*, epoch: int = 1714979289, level: int = 6) -> bytes:
    target = io.BytesIO()
    entries = (
        ZipFolder(name="a"),
        ZipMember(name="a/run", content=io.BytesIO(b"1" * 5000), size_bytes=5000, executable=True),
        ZipMember(name="naïve 😀.txt", content=io.BytesIO(b""), size_bytes=0),
    )
    write_zip(target, entries, epoch=epoch, level=level)
    return target.getvalue()


def test_members_have_their_bytes_modes_and_the_one_time() -> None:
    with zipfile.ZipFile(io.BytesIO(written())) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "a/": b"",
            "a/run": b"1" * 5000,
            "naïve 😀.txt": b"",
        }
        modes = [info.external_attr >> 16 for info in archive.infolist()]
        assert modes == [stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755, stat.S_IFREG | 0o644]
        assert {info.date_time for info in archive.infolist()} == {(2024, 5, 6, 7, 8, 8)}


@pytest.mark.parametrize(("epoch", "date"), [(0, (1980, 1, 1, 0, 0, 0)), (1 << 33, (2107, 12, 31, 23, 59, 58))])
def test_a_time_that_a_zip_cannot_say_becomes_the_nearest(epoch: int, date: tuple[int, ...]) -> None:
    with zipfile.ZipFile(io.BytesIO(written(epoch=epoch))) as archive:
        assert {info.date_time for info in archive.infolist()} == {date}


def test_the_bytes_are_the_same_every_time_and_level_0_stores() -> None:
    assert written() == written()
    with zipfile.ZipFile(io.BytesIO(written(level=0))) as archive:
        assert archive.getinfo("a/run").compress_type == zipfile.ZIP_STORED
        assert archive.getinfo("a/run").compress_size == 5000
