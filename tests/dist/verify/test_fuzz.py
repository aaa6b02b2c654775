"""Real archives, changed at random: verify never crashes, never writes, and never passes what is another package."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from portalis.dist.verify import ReadLimits, VerificationReport, verify_package
from portalis.spec.distribution import ArchiveFormat

from .hostile import TOP, packed_as

Change = tuple[str, float, bytes]
TARS = [packed for packed in ArchiveFormat if packed is not ArchiveFormat.Zip]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["flip", "write", "insert", "cut", "truncate", "append", "repeat", "swap"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=40),
    ),
    min_size=1,
    max_size=3,
)


def changed(data: bytes, changes: list[Change]) -> bytes:
    """`data` after each of `changes`, at a share of its length."""
    for how, share, more in changes:
        at = int(share * len(data))
        size = 512 if how in ("repeat", "swap") else len(more)
        if how == "flip":
            data = data[:at] + bytes([data[at] ^ (more[0] or 1)]) + data[at + 1 :] if data else more
        elif how == "write":
            data = data[:at] + more + data[at + size :]
        elif how == "insert":
            data = data[:at] + more + data[at:]
        elif how == "cut":
            data = data[:at] + data[at + size :]
        elif how == "truncate":
            data = data[:at]
        elif how == "append":
            data += more
        elif how == "repeat":  # a block of a tar archive
            at -= at % size
            data = data[:at] + data[at : at + size] + data[at:]
        else:
            at -= at % size
            data = data[:at] + data[at + size : at + 2 * size] + data[at : at + size] + data[at + 2 * size :]
    return data


def tar_in(data: bytes, packed: ArchiveFormat) -> bytes:
    if packed is ArchiveFormat.TarZst:
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as stream:
            return stream.read()
    if packed is ArchiveFormat.TarGz:
        return gzip.decompress(data)
    return bz2.decompress(data) if packed is ArchiveFormat.TarBz2 else lzma.decompress(data)


def read_by_python(data: bytes, packed: ArchiveFormat) -> dict[str, bytes]:
    """What tarfile or zipfile would unpack."""
    if packed is ArchiveFormat.Zip:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    found = {}
    with tarfile.open(fileobj=io.BytesIO(tar_in(data, packed))) as tar:
        for info in tar:
            if not info.isdir():
                file = tar.extractfile(info)
                assert file is not None
                found[info.name] = file.read()
    return found


def but_the_manifest(data: bytes, packed: ArchiveFormat) -> dict[str, bytes]:
    """A manifest cannot vouch for the words in itself: what lies beside the archive does."""
    return {name: each for name, each in read_by_python(data, packed).items() if name != f"{TOP}/manifest.json"}


@pytest.fixture(scope="module")
def desk() -> Iterator[Path]:
    """A folder in which nothing but the archive may ever lie."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "desk").mkdir()
        yield Path(folder) / "desk"


def look(desk: Path, original: Path, data: bytes, *beside: str) -> VerificationReport:
    """What verify says of `data` in place of `original`."""
    path = desk / original.name
    path.write_bytes(data)
    for ending in beside:
        shutil.copy(original.with_name(f"{original.name}.{ending}"), desk)
    before = sorted(desk.parent.rglob("*"))
    found = verify_package(path, ReadLimits(max_bytes=64 << 20))
    assert sorted(desk.parent.rglob("*")) == before
    for each in before:
        if each.is_file():
            each.unlink()
    assert all(each.message and each.remediation for each in found.findings)
    return found


def check(desk: Path, original: Path, packed: ArchiveFormat, data: bytes) -> None:
    found = look(desk, original, data)
    if found.verified:
        assert but_the_manifest(data, packed) == but_the_manifest(original.read_bytes(), packed)
    if data != original.read_bytes():
        assert not look(desk, original, data, "sha256").verified
        assert not look(desk, original, data, "b3").verified
        assert not look(desk, original, data, "provenance.json").verified


FUZZ: dict[str, Any] = {"max_examples": 120, "deadline": None}


@pytest.mark.parametrize("packed", ArchiveFormat)
def test_changed_bytes_never_pass(desk: Path, shipped: dict[ArchiveFormat, Path], packed: ArchiveFormat) -> None:
    @settings(**FUZZ)
    @given(changes=CHANGES)
    def run(changes: list[Change]) -> None:
        check(desk, shipped[packed], packed, changed(shipped[packed].read_bytes(), changes))

    run()


@pytest.mark.parametrize("packed", TARS)
@pytest.mark.bulk
def test_a_changed_tar_archive_never_passes_in_sound_compression(
    desk: Path, shipped: dict[ArchiveFormat, Path], packed: ArchiveFormat
) -> None:
    tar = tar_in(shipped[packed].read_bytes(), packed)

    @settings(**FUZZ)
    @given(changes=CHANGES)
    def run(changes: list[Change]) -> None:
        check(desk, shipped[packed], packed, packed_as(changed(tar, changes), packed))

    run()


def rewritten(data: bytes, seed: int, *, change: bool) -> bytes:
    """The ZIP file with its members in another order; with `change`, one of them has another byte."""
    some = random.Random(seed)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    some.shuffle(members)
    if change:
        at = next(i for i, (info, content) in enumerate(members) if content and "manifest" not in info.filename)
        info, content = members[at]
        where = some.randrange(len(content))
        members[at] = info, content[:where] + bytes([content[where] ^ some.randrange(1, 256)]) + content[where + 1 :]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info, content in members:
            new = zipfile.ZipInfo(info.filename, info.date_time)
            new.external_attr = info.external_attr
            archive.writestr(new, content, info.compress_type)
    return buffer.getvalue()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_members_in_another_order_are_the_same_package_and_a_changed_one_is_not(
    desk: Path, shipped: dict[ArchiveFormat, Path], seed: int
) -> None:
    original = shipped[ArchiveFormat.Zip]
    data = rewritten(original.read_bytes(), seed, change=False)
    assert look(desk, original, data).verified
    assert data == original.read_bytes() or not look(desk, original, data, "sha512").verified
    check(desk, original, ArchiveFormat.Zip, data)
    assert not look(desk, original, rewritten(original.read_bytes(), seed, change=True)).verified


def test_the_byte_for_the_system_in_a_gzip_header_counts_where_there_is_a_checksum(
    desk: Path, shipped: dict[ArchiveFormat, Path]
) -> None:
    """The content is the same: only a checksum of the archive itself can tell."""
    original = shipped[ArchiveFormat.TarGz]
    data = bytearray(original.read_bytes())
    data[9] = 3
    assert look(desk, original, bytes(data)).verified
    assert not look(desk, original, bytes(data), "sha256").verified


def test_a_manifest_cannot_vouch_for_its_own_words_and_that_is_told(
    desk: Path, shipped: dict[ArchiveFormat, Path]
) -> None:
    original = shipped[ArchiveFormat.TarXz]
    tar = tar_in(original.read_bytes(), ArchiveFormat.TarXz)
    said = b'"pipeline_id": "run-1"'
    assert tar.count(said) == 1
    data = packed_as(tar.replace(said, said.replace(b"1", b"2")), ArchiveFormat.TarXz)
    alone = look(desk, original, data)
    assert alone.verified and alone.checks[-1].summary.startswith("only its own manifest; ")
    for ending in ("sha256", "sha512", "b3", "provenance.json"):
        assert not look(desk, original, data, ending).verified


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=2000), packed=st.sampled_from(list(ArchiveFormat)), seal=st.booleans())
def test_any_bytes_are_refused(
    desk: Path, shipped: dict[ArchiveFormat, Path], data: bytes, packed: ArchiveFormat, seal: bool
) -> None:
    if seal and packed is not ArchiveFormat.Zip:
        data = packed_as(data, packed)
    assert not look(desk, shipped[packed], data).verified
