"""Verification of real packages, valid and changed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from portalis.dist.archive.writer import ARCHIVE_ENDINGS
from portalis.dist.verify import ReadLimits, verify_package
from portalis.errors import UsageError
from portalis.spec.distribution import ArchiveFormat

from .hostile import TOP, below, manifest, messages, packed_as, report, tar_of, zip_of

FILES = {"README.md": b"# demo\n", "wasm/gelu.wasm": b"\0asm" * 100, "docs/a.md": b""}
WRONG = {
    "name": "gelu",
    "size_bytes": 400,
    "checksum_sha256": "0" * 64,
    "wasi_compliant": True,
    "exports": [],
}
TARS = [packed for packed in ArchiveFormat if packed is not ArchiveFormat.Zip]


def archive_of(files: dict[str, bytes], packed: ArchiveFormat) -> bytes:
    return zip_of(files) if packed is ArchiveFormat.Zip else packed_as(tar_of(files), packed)


@pytest.mark.parametrize("packed", ArchiveFormat)
def test_an_archive_of_portalis_is_verified(archives: dict[ArchiveFormat, Path], packed: ArchiveFormat) -> None:
    found = verify_package(archives[packed], ReadLimits())
    assert found.verified and found.archive_format is packed and messages(found) == []
    assert found.file_count == 19 and [check.name for check in found.checks if check.proves] == [
        "checksums",
        "manifest",
        "provenance",
    ]


def test_sha256sum_and_sha512sum_accept_the_checksum_files(archives: dict[ArchiveFormat, Path]) -> None:
    folder = archives[ArchiveFormat.TarGz].parent
    for program in ("sha256sum", "sha512sum"):
        name = f"{TOP}.tar.gz.{program[:-3]}"
        done = subprocess.run([program, "--check", "--strict", name], cwd=folder, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, f"{TOP}.tar.gz: OK\n")


@pytest.mark.parametrize("packed", ArchiveFormat)
def test_a_package_repacked_by_other_tools_is_verified_by_its_manifest(tmp_path: Path, packed: ArchiveFormat) -> None:
    assert messages(report(tmp_path, archive_of(below(FILES), packed), packed)) == []


@pytest.mark.parametrize("tool", [["tar", "--format=gnu"], ["tar", "--format=pax"], ["tar", "--format=ustar"]])
def test_archives_of_gnu_tar_are_read(tmp_path: Path, tool: list[str]) -> None:
    long = "docs/" + "long/" * 12 + "name" * 20 + ".md"  # GNU's long name, pax's path, ustar's prefix
    for name, data in below({**FILES, long: b"x"}).items():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    path = tmp_path / f"{TOP}.tar.gz"
    subprocess.run([*tool, "-czf", str(path), TOP], cwd=tmp_path, check=True)
    assert messages(verify_package(path, ReadLimits())) == []


@pytest.mark.parametrize("packed", ArchiveFormat)
@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (FILES | {"docs/a.md": b"b"}, "manifest: changed: 'docs/a.md': expected 0 bytes, got 1"),
        (FILES | {"README.md": b"# DEMO\n"}, "manifest: changed: 'README.md': expected SHA-256"),
        (FILES | {"more": b""}, "manifest: extra: 'more' is in the package but not in the manifest"),
        (
            {"README.md": FILES["README.md"], "docs/a.md": b""},
            "manifest: missing: 'wasm/gelu.wasm' is in the manifest but not in the package",
        ),
    ],
)
def test_each_file_that_differs_from_the_manifest_is_a_finding(
    tmp_path: Path, packed: ArchiveFormat, files: dict[str, bytes], reason: str
) -> None:
    inside = {f"{TOP}/{name}": data for name, data in files.items()} | {f"{TOP}/manifest.json": manifest(FILES)}
    (message,) = messages(report(tmp_path, archive_of(inside, packed), packed))
    assert message.startswith(reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "manifest.json is not a valid package manifest"),
        (b"\xff", "manifest.json is not a valid package manifest"),
        (b"[" * 200_000, "manifest.json is not a valid package manifest"),
        (b"[]", "manifest.json is not a valid package manifest: document: "),
        (manifest({}, package_version="one"), "package_version: "),
        (manifest({}, more=1), "more: "),
        (manifest({}, version="9.0"), "unsupported manifest version: expected 1.0, got '9.0'"),
        (
            manifest({}, package_name="other"),
            "the manifest is for 'other-1.2.3', but the top directory of the archive is",
        ),
        (
            manifest({}, build_info={"total_wasm_size_bytes": 1, "wasm_binaries": [WRONG]}),
            "build_info has a different digest or size for the module 'gelu'",
        ),
        (manifest({"../up": b""}), "the manifest lists '../up', which points outside the directory"),
    ],
)
def test_a_manifest_that_is_invalid_or_of_a_different_package_is_a_finding(
    tmp_path: Path, text: bytes, reason: str
) -> None:
    inside = {f"{TOP}/manifest.json": text, f"{TOP}/wasm/gelu.wasm": FILES["wasm/gelu.wasm"]}
    found = report(tmp_path, packed_as(tar_of(inside), ArchiveFormat.TarGz))
    assert any(reason in message for message in messages(found)), messages(found)


@pytest.mark.parametrize("name", ["manifest.yaml", "manifest.toml"])
@pytest.mark.parametrize(
    "text",
    [
        b"a0: &a0 {k: v}\n"
        + b"".join(b"a%d: &a%d {<<: [%s]}\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 20)),
        b"!!python/object/apply:os.system ['true']",
        b"[" * 20_000,
        b"= 1",
        b"\0",
    ],
)
def test_a_hostile_yaml_or_toml_manifest_is_a_finding(tmp_path: Path, name: str, text: bytes) -> None:
    found = report(tmp_path, packed_as(tar_of({f"{TOP}/{name}": text}), ArchiveFormat.TarGz))
    assert messages(found) and all(f"{name} is not a valid package manifest" in each for each in messages(found))


def test_two_manifests_are_rejected(tmp_path: Path) -> None:
    files = below({"manifest.yaml": b""})
    assert "expected one manifest, got " in messages(report(tmp_path, packed_as(tar_of(files), ArchiveFormat.TarGz)))[0]


def test_a_package_without_any_proof_is_not_verified(tmp_path: Path) -> None:
    found = report(tmp_path, packed_as(tar_of({f"{TOP}/a": b"x"}), ArchiveFormat.TarGz))
    assert not found.verified and "the contents cannot be verified" in messages(found)[0]


def test_checksums_alone_verify_a_package_without_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / f"{TOP}.tar.gz"
    path.write_bytes(packed_as(tar_of({f"{TOP}/a": b"x"}), ArchiveFormat.TarGz))
    sums = subprocess.run(["sha256sum", path.name], cwd=tmp_path, capture_output=True, check=True).stdout
    path.with_name(f"{path.name}.sha256").write_bytes(sums)
    assert verify_package(path, ReadLimits()).verified


@pytest.mark.parametrize("ending", ["sha256", "sha512", "b3"])
@pytest.mark.parametrize(
    "text", ["", "x", "0" * 64 + "  other.tar.gz\n", "0" * 64 + "  demo-1.2.3.tar.gz\n", "\0\xff" * 9]
)
def test_a_checksum_file_that_does_not_match_is_a_finding(
    tmp_path: Path, archives: dict[ArchiveFormat, Path], ending: str, text: str
) -> None:
    path = Path(shutil.copytree(archives[ArchiveFormat.TarGz].parent, tmp_path / "got")) / f"{TOP}.tar.gz"
    path.with_name(f"{path.name}.{ending}").write_text(text)
    (message,) = messages(verify_package(path, ReadLimits()))
    assert message.startswith(f"checksums: {path.name}.{ending} ")


def test_a_checksum_file_with_a_matching_and_a_different_line_is_a_finding(
    tmp_path: Path, archives: dict[ArchiveFormat, Path]
) -> None:
    path = Path(shutil.copytree(archives[ArchiveFormat.Zip].parent, tmp_path / "got")) / f"{TOP}.zip"
    sums = path.with_name(f"{path.name}.sha256")
    sums.write_text(sums.read_text() + f"{'0' * 64}  {path.name}\n")
    assert not verify_package(path, ReadLimits()).verified


def test_a_name_that_does_not_match_the_format_is_a_finding(tmp_path: Path) -> None:
    found = report(tmp_path, packed_as(tar_of(below(FILES)), ArchiveFormat.TarXz), ArchiveFormat.TarGz)
    assert messages(found) == ["structure: the archive is a .tar.xz file, but its name has a different ending"]


@pytest.mark.parametrize("data", [b"", b"x", b"# a text\n" * 99, b"\x1f\x8b", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_not_an_archive_is_a_finding(tmp_path: Path, data: bytes) -> None:
    assert "structure: not an archive in a supported format" in messages(report(tmp_path, data))[0]


def test_files_outside_a_single_top_directory_are_a_finding(tmp_path: Path) -> None:
    for files in (below(FILES) | {"other/file": b""}, below(FILES) | {"file": b""}, {}, {"demo-1.2.3": b""}):
        found = report(tmp_path, packed_as(tar_of(files), ArchiveFormat.TarGz))
        assert not found.verified and any(each.startswith("structure: ") for each in messages(found)), files


def test_an_unpacked_archive_is_compared_with_its_manifest(tmp_path: Path, archives: dict[ArchiveFormat, Path]) -> None:
    subprocess.run(["tar", "-xf", str(archives[ArchiveFormat.TarZst])], cwd=tmp_path, check=True)
    folder = tmp_path / TOP
    assert verify_package(folder, ReadLimits()).verified
    (folder / "wasm" / "gelu.wasm").unlink()
    (folder / "more").write_text("x")
    (folder / "link").symlink_to("/etc/passwd")
    assert messages(verify_package(folder, ReadLimits())) == [
        "paths: 'link' is a symbolic link",
        "manifest: missing: 'wasm/gelu.wasm' is in the manifest but not in the package",
        "manifest: extra: 'more' is in the package but not in the manifest",
    ]


def test_a_directory_of_archives_is_verified_with_their_sidecar_files(
    tmp_path: Path, archives: dict[ArchiveFormat, Path]
) -> None:
    folder = Path(shutil.copytree(archives[ArchiveFormat.TarBz2].parent, tmp_path / "got"))
    assert verify_package(folder, ReadLimits()).verified
    (folder / "README.md").write_text("something else")
    found = verify_package(folder, ReadLimits())
    assert not found.verified and messages(found.archives[0]) == [
        f"copies: README.md differs from the one in {TOP}.tar.bz2"
    ]


def test_a_path_without_anything_to_verify_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a manifest nor an archive"):
        verify_package(tmp_path, ReadLimits())
    with pytest.raises(UsageError, match="No such file"):
        verify_package(tmp_path / "gone", ReadLimits())
    with pytest.raises(UsageError, match="neither a file nor a directory"):
        verify_package(Path("/dev/null"), ReadLimits())


def test_every_format_has_a_name_that_verify_knows() -> None:
    assert set(ARCHIVE_ENDINGS) == set(ArchiveFormat) and set(TARS) < set(ARCHIVE_ENDINGS)
