"""Reading of directories, checksum files and manifests, and its limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from portalis.dist.verify import package_contents as reading
from portalis.dist.verify import verify_package
from portalis.dist.verify.entries import ArchiveEntry, EntryKind, ReadLimits
from portalis.dist.verify.package_contents import MAX_KEPT_BYTES, read_contents
from portalis.errors import UsageError

from .hostile import TOP, below, gz, manifest, messages, report, tar_of


@pytest.mark.parametrize("failure", [MemoryError, RecursionError])
def test_a_lack_of_memory_is_one_finding(failure: type[Exception]) -> None:
    """The exceptions are simulated, because a real lack of memory would affect concurrent tests."""

    def entries() -> Iterator[ArchiveEntry]:
        yield ArchiveEntry(name="a", kind=EntryKind.Folder)
        raise failure

    found = read_contents(entries(), lambda name: False)
    assert not found.is_complete
    assert [each.message for each in found.findings] == ["not enough memory to read the package"]
    assert found.folders == {"a"}


def test_a_manifest_that_is_too_large_is_not_kept() -> None:
    piece = bytes(1 << 20)
    pieces = [piece] * ((MAX_KEPT_BYTES >> 20) + 1)
    found = read_contents(
        iter([ArchiveEntry(name="manifest.json", kind=EntryKind.File, content=pieces)]), lambda name: True
    )
    assert [each.check for each in found.findings] == [reading.STRUCTURE]
    assert "'manifest.json' is larger than 16 MiB" in found.findings[0].message


def test_a_directory_that_is_too_deep_or_too_large_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest({}))
    assert messages(verify_package(tmp_path, ReadLimits(max_bytes=10)))[0].startswith(
        "structure: the files of the package are larger than 10 bytes"
    )
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("a", dir_fd=here)
        below_it = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below_it
    os.close(here)
    assert any("nested more than 64 levels" in each for each in messages(verify_package(tmp_path, ReadLimits())))


def test_a_manifest_that_lists_a_path_twice_is_a_finding(tmp_path: Path) -> None:
    listed = {"name": "a", "path": "a", "size_bytes": 1, "checksum_sha256": "0" * 64, "artifact_type": "file"}
    archive = gz(tar_of(below({"a": b"x"}, artifacts={"distribution_archives": [listed, listed]})))
    assert "manifest: the manifest lists 'a' twice" in messages(report(tmp_path, archive))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\xff", "cannot be read"),
        (b"no checksum\n", "is not a list of checksums"),
        (b"", f"has no checksum for {TOP}.tar.gz"),
    ],
)
def test_a_checksum_file_without_the_archive_is_a_finding(tmp_path: Path, text: bytes, reason: str) -> None:
    (tmp_path / f"{TOP}.tar.gz.sha256").write_bytes(text)
    assert any(reason in each for each in messages(report(tmp_path, gz(tar_of(below({"a": b"x"}))))))


def test_a_path_that_cannot_be_verified_is_a_usage_error(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "nothing", "No such file"),
        (tmp_path, "contains neither a manifest nor an archive"),
        (Path(os.devnull), "is neither a file nor a directory"),
    ):
        with pytest.raises(UsageError, match=reason):
            verify_package(path, ReadLimits())


def test_an_output_directory_without_archives_is_verified_by_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "manifest.json").write_bytes(manifest({"a": b"x"}))
    (tmp_path / "packaging-report.json").write_text("{}")
    assert verify_package(tmp_path, ReadLimits()).verified
    (tmp_path / "a").write_bytes(b"y")
    assert not verify_package(tmp_path, ReadLimits()).verified
