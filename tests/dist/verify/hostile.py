"""Builds archives that portalis never creates."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import zstandard

from portalis.dist.archive.writer import ARCHIVE_ENDINGS
from portalis.dist.verify import ReadLimits, VerificationReport, verify_package
from portalis.spec.distribution import ArchiveFormat

TOP = "demo-1.2.3"


def manifest(files: Mapping[str, bytes], **changes: Any) -> bytes:
    """A manifest that lists `files`, whose paths are below the top directory."""
    entries = [
        {
            "name": path.rpartition("/")[2],
            "path": path,
            "size_bytes": len(data),
            "checksum_sha256": hashlib.sha256(data).hexdigest(),
            "artifact_type": "file",
        }
        for path, data in files.items()
    ]
    value = {
        "package_name": "demo",
        "package_version": "1.2.3",
        "created_at": "2024-05-06T07:08:09Z",
        "pipeline_id": "run-1",
        "mode": "library",
        "artifacts": {"distribution_archives": entries},
        "source_info": {},
        "build_info": {"wasm_binaries": [], "total_wasm_size_bytes": 0},
        "test_info": {},
        "performance_metrics": {},
    }
    return json.dumps(value | changes).encode()


def tar_of(files: Mapping[str, bytes], more: Iterable[tarfile.TarInfo] = (), how: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive with `files` by their full names, and entries without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=how) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in more:
            tar.addfile(info)
    return buffer.getvalue()


def packed_as(data: bytes, packed: ArchiveFormat) -> bytes:
    """`data` compressed as in a tar format."""
    if packed is ArchiveFormat.TarGz:
        return gzip.compress(data, mtime=0)
    if packed is ArchiveFormat.TarBz2:
        return bz2.compress(data)
    if packed is ArchiveFormat.TarXz:
        return lzma.compress(data, preset=0)
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def gz(data: bytes) -> bytes:
    """`data` compressed with gzip."""
    return packed_as(data, ArchiveFormat.TarGz)


def zip_of(files: Mapping[str, bytes], more: Iterable[tuple[zipfile.ZipInfo, bytes]] = ()) -> bytes:
    """A ZIP file with `files` by their full names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o100644 << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
        for info, data in more:
            archive.writestr(info, data)
    return buffer.getvalue()


def below(files: Mapping[str, bytes], **changes: Any) -> dict[str, bytes]:
    """`files` and their manifest, below the top directory."""
    listed = {**files, "manifest.json": manifest(files, **changes)}
    return {f"{TOP}/{name}": data for name, data in listed.items()}


def report(folder: Path, data: bytes, packed: ArchiveFormat = ArchiveFormat.TarGz, **limits: int) -> VerificationReport:
    """Verify an archive with these bytes."""
    path = folder / f"{TOP}{ARCHIVE_ENDINGS[packed]}"
    path.write_bytes(data)
    return verify_package(path, ReadLimits(**limits))


def messages(found: VerificationReport) -> list[str]:
    """The messages of all findings, each after the name of its check."""
    assert all(each.remediation for each in found.findings)
    return [f"{each.check}: {each.message}" for each in found.findings]
