"""Hostile archives: each is rejected with message and remediation, quickly and within limits."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from portalis.dist.archive.writer import ARCHIVE_ENDINGS
from portalis.dist.verify import ReadLimits, verify_package
from portalis.spec.distribution import ArchiveFormat
from tests.dist.archive.test_archive_paths import HOSTILE
from tests.parts import ROOT

from .hostile import TOP, below, gz, manifest, messages, packed_as, report, tar_of, zip_of

GOOD = below({"a": b"x"})


def entry(name: str, kind: bytes = tarfile.REGTYPE, **values: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in values.items():
        setattr(info, key, value)
    return info


# the names that a tar header and a ZIP file can contain
NAMES = [name for name in HOSTILE if name and "\0" not in name and "\udc80" not in name]


@pytest.mark.parametrize("packed", [ArchiveFormat.TarGz, ArchiveFormat.Zip])
@pytest.mark.parametrize("name", NAMES)
def test_unsafe_names_are_rejected(tmp_path: Path, packed: ArchiveFormat, name: str) -> None:
    """The manifest lists the file, too."""
    inside = GOOD | {f"{TOP}/manifest.json": manifest({"a": b"x", name: b"x"}), name: b"x", f"{TOP}/{name}": b"x"}
    data = zip_of(inside) if packed is ArchiveFormat.Zip else gz(tar_of(inside))
    found = messages(report(tmp_path, data, packed))
    assert [each for each in found if each.startswith(("paths: ", "structure: "))], found
    assert [path.name for path in tmp_path.iterdir()] == [f"{TOP}{ARCHIVE_ENDINGS[packed]}"]


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a named pipe"),
    ],
)
def test_entries_that_are_neither_file_nor_directory_are_rejected(tmp_path: Path, kind: bytes, what: str) -> None:
    data = gz(tar_of(GOOD, [entry(f"{TOP}/b", kind, linkname="/etc/passwd")]))
    assert f"paths: '{TOP}/b' is {what}" in messages(report(tmp_path, data))


@pytest.mark.parametrize(("mode", "what"), [(0o120777, "a symbolic link"), (0o020666, "a device, pipe or directory")])
def test_a_link_or_a_device_in_a_zip_is_rejected(tmp_path: Path, mode: int, what: str) -> None:
    info = zipfile.ZipInfo(f"{TOP}/b")
    info.external_attr = mode << 16
    found = report(tmp_path, zip_of(GOOD, [(info, b"/etc/passwd")]), ArchiveFormat.Zip)
    assert f"paths: '{TOP}/b' is {what}" in messages(found)


@pytest.mark.parametrize("kind", [b"S", b"g", b"M", b"V", b"K", b"7", b"Z"])
def test_entry_types_that_packages_do_not_use_are_rejected(tmp_path: Path, kind: bytes) -> None:
    found = messages(report(tmp_path, gz(tar_of(GOOD, [entry(f"{TOP}/b", kind)]))))
    assert any("which packages do not use" in each for each in found), found


def test_a_setuid_bit_is_rejected(tmp_path: Path) -> None:
    found = messages(report(tmp_path, gz(tar_of(GOOD, [entry(f"{TOP}/b", mode=0o4755)]))))
    assert f"paths: '{TOP}/b' has a setuid, setgid or sticky bit: its mode is 4755" in found


@pytest.mark.parametrize("name", ["a", "A"])
def test_a_duplicate_name_is_rejected_also_if_only_case_differs(tmp_path: Path, name: str) -> None:
    found = messages(report(tmp_path, gz(tar_of(GOOD, [entry(f"{TOP}/{name}")]))))
    assert any(each.startswith(f"paths: '{TOP}/{name}' ") for each in found), found


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_duplicate_name_in_a_zip_is_rejected(tmp_path: Path) -> None:
    found = report(tmp_path, zip_of(GOOD, [(zipfile.ZipInfo(f"{TOP}/a"), b"other")]), ArchiveFormat.Zip)
    assert f"paths: '{TOP}/a' occurs twice" in messages(found)


def test_a_file_below_another_file_is_rejected(tmp_path: Path) -> None:
    found = messages(report(tmp_path, gz(tar_of(GOOD | {f"{TOP}/A/b": b""}))))
    assert f"paths: a parent directory of '{TOP}/A/b' is a file" in found


def zeros(packed: ArchiveFormat, size: int) -> bytes:
    """An archive with one file of `size` zeros."""
    if packed is ArchiveFormat.Zip:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(f"{TOP}/a", "w") as file:
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))
        return buffer.getvalue()
    return packed_as(entry(f"{TOP}/a", size=size).tobuf() + bytes(size + 1024), packed)


@pytest.mark.parametrize("packed", ArchiveFormat)
def test_too_high_a_compression_ratio_is_rejected(tmp_path: Path, packed: ArchiveFormat) -> None:
    found = messages(report(tmp_path, zeros(packed, 80 << 20), packed))
    assert any("may be a decompression bomb" in each for each in found), found


@pytest.mark.parametrize("packed", ArchiveFormat)
def test_too_large_a_total_size_is_rejected(tmp_path: Path, packed: ArchiveFormat) -> None:
    found = messages(report(tmp_path, zeros(packed, 2 << 20), packed, max_bytes=1 << 20))
    assert any("are larger than 1.0 MiB in total" in each for each in found), found


@pytest.mark.parametrize("packed", [ArchiveFormat.TarGz, ArchiveFormat.Zip])
def test_too_many_entries_are_rejected(tmp_path: Path, packed: ArchiveFormat) -> None:
    inside = below({str(i): b"" for i in range(200)})
    data = zip_of(inside) if packed is ArchiveFormat.Zip else gz(tar_of(inside))
    found = messages(report(tmp_path, data, packed, max_entries=100))
    assert any("more than 100 files and directories" in each for each in found), found
    assert messages(report(tmp_path, data, packed, max_entries=201)) == []


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_declares_gigabytes_allocates_no_memory(tmp_path: Path, kind: bytes) -> None:
    """tarfile would read the whole header into memory."""
    data = gz(entry("x", kind, size=4 << 30).tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    assert messages(report(tmp_path, data))[0] == "structure: an extended header in the archive is larger than 64 KiB"


def pax(*records: bytes) -> bytes:
    body = b"".join(b"%d %s" % (len(each) + 3, each) for each in records)
    return entry("x", tarfile.XHDTYPE, size=len(body)).tobuf() + body + bytes(-len(body) % 512)


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([b"size=1\n"], "has two sizes"),
        ([b"size=-1\n"], "has two sizes"),
        ([b"GNU.sparse.major=1\n"], "which packages do not use"),
        ([b"hdrcharset=BINARY\n"], "which packages do not use"),
        ([b"SCHILY.xattr.security.capability=x\n"], "which packages do not use"),
        ([b"path=a\n", b"path=b\n"], "damaged"),
        ([b"path=\xff\n"], "not UTF-8"),
        ([b"path\n"], "damaged"),
    ],
)
def test_an_ambiguous_extended_header_is_rejected(tmp_path: Path, records: list[bytes], reason: str) -> None:
    data = gz(pax(*records) + tar_of(GOOD))
    found = messages(report(tmp_path, data))
    assert any(reason in each for each in found), found


@pytest.mark.parametrize("body", [b"x", b"0 path=a\n", b"99 path=a\n", b"6 a=\n", b"-9 path=a\n"])
def test_a_damaged_extended_header_is_rejected(tmp_path: Path, body: bytes) -> None:
    data = entry("x", tarfile.XHDTYPE, size=len(body)).tobuf() + body + bytes(-len(body) % 512) + tar_of(GOOD)
    assert "structure: an extended header in the archive is damaged" in messages(report(tmp_path, gz(data)))


def test_a_chain_of_extended_headers_is_rejected(tmp_path: Path) -> None:
    """tarfile follows such chains by recursion."""
    found = messages(report(tmp_path, gz(pax(b"path=a\n") * 5000 + tar_of(GOOD))))
    assert any("which packages do not use" in each for each in found), found


TAR = tar_of(GOOD)
ONE = 512 + 512  # the first file, 'a', with its content


@pytest.mark.parametrize(
    "data",
    [
        TAR + b"more",
        TAR + TAR,
        TAR[:-1] + b"x",
        TAR[: ONE - 1] + b"x" + TAR[ONE:],  # after the end of a file
        TAR[:-10_000],
        TAR.rstrip(b"\0"),
        b"",
        bytes(512),
    ],
)
@pytest.mark.parametrize("packed", [ArchiveFormat.TarGz, ArchiveFormat.TarZst])
def test_hidden_data_in_a_tar_and_truncation_are_rejected(tmp_path: Path, data: bytes, packed: ArchiveFormat) -> None:
    found = messages(report(tmp_path, packed_as(data, packed), packed))
    assert any(each.startswith("structure: ") for each in found), found


@pytest.mark.parametrize("packed", [each for each in ArchiveFormat if each is not ArchiveFormat.Zip])
@pytest.mark.parametrize("more", [b"x", b"more than a few bytes" * 9, bytes(512)])
def test_data_after_the_compressed_data_is_rejected(tmp_path: Path, packed: ArchiveFormat, more: bytes) -> None:
    found = messages(report(tmp_path, packed_as(TAR, packed) + more, packed))
    assert any(each.startswith("structure: ") for each in found), found


@pytest.mark.parametrize("packed", ArchiveFormat)
def test_an_archive_that_is_truncated_anywhere_is_rejected(tmp_path: Path, packed: ArchiveFormat) -> None:
    data = zip_of(GOOD) if packed is ArchiveFormat.Zip else packed_as(TAR, packed)
    for length in range(len(data)):
        assert not report(tmp_path, data[:length], packed).verified, length


ZIP = zip_of(GOOD)


def changed_zip(change: str) -> bytes:
    at_list = ZIP.index(b"PK\x01\x02")
    data = bytearray(ZIP)
    if change == "in front":
        return b"#!/bin/sh\n" + ZIP
    if change == "behind":
        return ZIP + b"more"
    if change == "a comment":
        data[-2:] = struct.pack("<H", 4)
        return bytes(data) + b"more"
    if change == "another name in front of the file":
        name = f"{TOP}/a".encode()
        at = ZIP.index(name)
        data[at + len(name) - 1] = ord("b")
    if change == "another size in the list":
        data[at_list + 24] += 1
    if change == "another method in the list":
        data[at_list + 10] = 0
    if change == "encrypted":
        data[at_list + 8] |= 1
        data[6] |= 1
    if change == "a file that is not in the list":
        second = ZIP.index(b"PK\x01\x02", at_list + 4)
        del data[at_list:second]
        end = data.rindex(b"PK\x05\x06")
        count, length = 1, len(data[at_list:end])
        data[end + 8 : end + 16] = struct.pack("<2HL", count, count, length)
    if change == "the same file twice in the list":
        second = ZIP.index(b"PK\x01\x02", at_list + 4)
        data[at_list:at_list] = ZIP[at_list:second]
        end = data.rindex(b"PK\x05\x06")
        data[end + 8 : end + 16] = struct.pack("<2HL", 3, 3, end - at_list)
    assert data != ZIP
    return bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        "in front",
        "behind",
        "a comment",
        "another name in front of the file",
        "another size in the list",
        "another method in the list",
        "encrypted",
        "a file that is not in the list",
        "the same file twice in the list",
    ],
)
def test_an_ambiguous_zip_is_rejected(tmp_path: Path, change: str) -> None:
    found = messages(report(tmp_path, changed_zip(change), ArchiveFormat.Zip))
    assert any(each.startswith("structure: ") for each in found), found


def test_a_zip_with_a_different_name_in_an_extra_field_is_rejected(tmp_path: Path) -> None:
    info = zipfile.ZipInfo(f"{TOP}/b")
    info.extra = struct.pack("<2HBL", 0x7075, 9, 1, 0) + b"evil"
    found = messages(report(tmp_path, zip_of(GOOD, [(info, b"")]), ArchiveFormat.Zip))
    assert any(each.startswith("structure: ") for each in found), found


def test_a_named_pipe_in_a_directory_is_a_finding_and_does_not_block(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest({}))
    os.mkfifo(tmp_path / "pipe")
    assert messages(verify_package(tmp_path, ReadLimits())) == ["paths: 'pipe' is a device, pipe or socket"]


def test_a_named_pipe_instead_of_a_checksum_file_is_a_finding_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"{TOP}.tar.gz.sha256")
    assert "is not a regular file" in messages(report(tmp_path, gz(TAR)))[0]


MEMORY = """
import resource, sys
from pathlib import Path
from portalis.dist.verify import ReadLimits, verify_package
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (128 << 20),) * 2)
found = verify_package(Path(sys.argv[1]), ReadLimits(max_ratio=10**9, max_bytes=200 << 20))
print([each.message for each in found.findings])
"""


MANIFESTS = {
    "toml of one dotted key": ("manifest.toml", ".".join(["a"] * 20_001) + "=1"),
    "toml of dotted headers": ("manifest.toml", "".join(f"[{'.'.join(['a'] * 400)}.k{i}]\n" for i in range(2000))),
    "yaml of many lines": ("manifest.yaml", "".join(f"a{i}: 1\n" for i in range(60_000))),
    "yaml of one key": ("manifest.yaml", "a: 1\n" * 100_000),
    "yaml of nested lists": ("manifest.yaml", "a: " + "[" * 100_000),
    "json of many objects": ("manifest.json", f"[{'{},' * 600_000}1]"),
    "json of nested lists": ("manifest.json", "[" * 600_000),
}


def test_a_hostile_manifest_is_rejected_in_bounded_memory_and_time(tmp_path: Path) -> None:
    """After each hostile archive, the same process verifies a valid one."""
    paths = []
    for name, (file, text) in MANIFESTS.items():
        paths.append(tmp_path / name / f"{TOP}.tar.gz")
        paths[-1].parent.mkdir()
        paths[-1].write_bytes(gz(tar_of({f"{TOP}/{file}": text.encode()})))
    good = tmp_path / f"{TOP}.tar.gz"
    good.write_bytes(gz(TAR))
    done = subprocess.run([sys.executable, "-c", EACH, good, *paths], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]
    for line, name in zip(done.stdout.splitlines(), MANIFESTS):
        found, spent, next_one = json.loads(line)
        assert found and "is not a valid package manifest: " in found[0], name
        assert spent < 8, name
        assert next_one


EACH = """
import json, resource, sys, time
from pathlib import Path
from portalis.dist.verify import ReadLimits, verify_package
good, *hostile = map(Path, sys.argv[1:])
verify_package(good, ReadLimits())
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (192 << 20),) * 2)
for path in hostile:
    began = time.process_time()
    found = [each.message for each in verify_package(path, ReadLimits(max_ratio=10**9)).findings]
    print(json.dumps([found, time.process_time() - began, verify_package(good, ReadLimits()).verified]), flush=True)
"""


@pytest.mark.parametrize("packed", ArchiveFormat)
@pytest.mark.bulk
def test_a_decompression_bomb_is_rejected_in_bounded_memory(tmp_path: Path, packed: ArchiveFormat) -> None:
    """zstd decompresses 4 bytes to 128 KiB, and the library cannot limit its output."""
    path = tmp_path / f"{TOP}{ARCHIVE_ENDINGS[packed]}"
    path.write_bytes(zeros(packed, 208 << 20))
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "are larger than 200.0 MiB in total" in done.stdout


def test_a_zstd_window_larger_than_the_limit_is_rejected(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=28, write_content_size=False)
    packing = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = packing.compress(TAR) + packing.flush()
    assert "compressed data is damaged" in messages(report(tmp_path, data, ArchiveFormat.TarZst))[0]


def test_an_empty_member_changes_nothing(tmp_path: Path) -> None:
    """The content is the same, so the archive is verified, unless a checksum file differs."""
    assert report(tmp_path, gz(TAR) + gzip.compress(b"", mtime=0)).verified
