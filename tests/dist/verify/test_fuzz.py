"""Random changes of archives: verifying never crashes, writes no file, and never accepts a different package."""

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
    """`data` after all `changes`; positions are fractions of its length."""
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
    """The files that tarfile or zipfile unpacks."""
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
    """The files without the manifest, whose own text only the sidecar files can prove."""
    return {name: each for name, each in read_by_python(data, packed).items() if name != f"{TOP}/manifest.json"}


@pytest.fixture(scope="module")
def archive_folder() -> Iterator[Path]:
    """A directory in which verifying must not create files."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "archive_folder").mkdir()
        yield Path(folder) / "archive_folder"


def verify_data(archive_folder: Path, original: Path, data: bytes, *sidecars: str) -> VerificationReport:
    """Verify `data` under the name of `original`, with the sidecar files whose endings are passed."""
    path = archive_folder / original.name
    path.write_bytes(data)
    for ending in sidecars:
        shutil.copy(original.with_name(f"{original.name}.{ending}"), archive_folder)
    before = sorted(archive_folder.parent.rglob("*"))
    found = verify_package(path, ReadLimits(max_bytes=64 << 20))
    assert sorted(archive_folder.parent.rglob("*")) == before
    for each in before:
        if each.is_file():
            each.unlink()
    assert all(each.message and each.remediation for each in found.findings)
    return found


def check(archive_folder: Path, original: Path, packed: ArchiveFormat, data: bytes) -> None:
    found = verify_data(archive_folder, original, data)
    if found.verified:
        assert but_the_manifest(data, packed) == but_the_manifest(original.read_bytes(), packed)
    if data != original.read_bytes():
        assert not verify_data(archive_folder, original, data, "sha256").verified
        assert not verify_data(archive_folder, original, data, "b3").verified
        assert not verify_data(archive_folder, original, data, "provenance.json").verified


FUZZ: dict[str, Any] = {"max_examples": 120, "deadline": None}


@pytest.mark.parametrize("packed", ArchiveFormat)
def test_changed_bytes_are_never_verified(
    archive_folder: Path, archives: dict[ArchiveFormat, Path], packed: ArchiveFormat
) -> None:
    @settings(**FUZZ)
    @given(changes=CHANGES)
    def run(changes: list[Change]) -> None:
        check(archive_folder, archives[packed], packed, changed(archives[packed].read_bytes(), changes))

    run()


@pytest.mark.parametrize("packed", TARS)
@pytest.mark.bulk
def test_a_changed_tar_archive_is_never_verified_in_valid_compression(
    archive_folder: Path, archives: dict[ArchiveFormat, Path], packed: ArchiveFormat
) -> None:
    tar = tar_in(archives[packed].read_bytes(), packed)

    @settings(**FUZZ)
    @given(changes=CHANGES)
    def run(changes: list[Change]) -> None:
        check(archive_folder, archives[packed], packed, packed_as(changed(tar, changes), packed))

    run()


def rewritten(data: bytes, seed: int, *, change: bool) -> bytes:
    """The ZIP file with its members in a different order; with `change`, a byte of one of them differs."""
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
def test_reordered_members_are_verified_and_changed_ones_are_not(
    archive_folder: Path, archives: dict[ArchiveFormat, Path], seed: int
) -> None:
    original = archives[ArchiveFormat.Zip]
    data = rewritten(original.read_bytes(), seed, change=False)
    assert verify_data(archive_folder, original, data).verified
    assert data == original.read_bytes() or not verify_data(archive_folder, original, data, "sha512").verified
    check(archive_folder, original, ArchiveFormat.Zip, data)
    assert not verify_data(archive_folder, original, rewritten(original.read_bytes(), seed, change=True)).verified


def test_the_operating_system_byte_of_a_gzip_header_is_covered_by_checksums_only(
    archive_folder: Path, archives: dict[ArchiveFormat, Path]
) -> None:
    """The content is the same: only a checksum of the archive itself can detect the change."""
    original = archives[ArchiveFormat.TarGz]
    data = bytearray(original.read_bytes())
    data[9] = 3
    assert verify_data(archive_folder, original, bytes(data)).verified
    assert not verify_data(archive_folder, original, bytes(data), "sha256").verified


def test_a_changed_manifest_alone_is_verified_with_a_note_in_the_proof(
    archive_folder: Path, archives: dict[ArchiveFormat, Path]
) -> None:
    original = archives[ArchiveFormat.TarXz]
    tar = tar_in(original.read_bytes(), ArchiveFormat.TarXz)
    text = b'"pipeline_id": "run-1"'
    assert tar.count(text) == 1
    data = packed_as(tar.replace(text, text.replace(b"1", b"2")), ArchiveFormat.TarXz)
    alone = verify_data(archive_folder, original, data)
    assert alone.verified and alone.checks[-1].summary.startswith("only its own manifest; ")
    for ending in ("sha256", "sha512", "b3", "provenance.json"):
        assert not verify_data(archive_folder, original, data, ending).verified


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=2000), packed=st.sampled_from(list(ArchiveFormat)), seal=st.booleans())
def test_random_bytes_are_rejected(
    archive_folder: Path, archives: dict[ArchiveFormat, Path], data: bytes, packed: ArchiveFormat, seal: bool
) -> None:
    if seal and packed is not ArchiveFormat.Zip:
        data = packed_as(data, packed)
    assert not verify_data(archive_folder, archives[packed], data).verified
