"""Checks an archive against the files next to it: checksum files in the format of `sha256sum` and `b3sum`, and copies
of its manifest and README."""

from __future__ import annotations

import hmac
import os
import re
import stat
from pathlib import Path

from ...digests import file_digest
from ...spec.distribution import ChecksumAlgorithm
from ..archive import CHECKSUM_ENDINGS, README_ENDINGS
from .manifest_check import MANIFESTS
from .received_package import CheckResult, ReceivedPackage, VerificationFinding

_CHECKSUMS = "checksums"
_COPIES = "copies"
_COPIED = (*MANIFESTS, *(f"README.{ending}" for ending in README_ENDINGS.values()))
_MAX_BYTES = 1 << 20  # of a checksum file
_LINE = re.compile(r"([0-9A-Fa-f]+) [ *](.+)")


def check_checksum_files(package: ReceivedPackage) -> CheckResult:
    """Check that every checksum file next to the archive matches it."""
    if not package.is_archive:
        return CheckResult(name=_CHECKSUMS, summary="not checked: only archives have checksum files")
    matching, findings = [], []
    for algorithm, ending in CHECKSUM_ENDINGS.items():
        path = package.sidecar(ending)
        if not os.path.lexists(path):
            continue
        if (problem := _checksum_problem(path, package.path.name, package.digests[algorithm])) is None:
            matching.append(algorithm.value)
        else:
            findings.append(VerificationFinding(check=_CHECKSUMS, message=f"{path.name} {problem}"))
    if matching:
        summary = f"the archive matches its checksum files: {', '.join(matching)}"
    elif findings:
        summary = "the archive matches none of its checksum files"
    else:
        example = package.sidecar(CHECKSUM_ENDINGS[ChecksumAlgorithm.SHA256]).name
        summary = f"no checksum file found, for example {example}"
    return CheckResult(name=_CHECKSUMS, summary=summary, findings=tuple(findings), proves=bool(matching))


def _checksum_problem(path: Path, name: str, digest: str) -> str | None:
    """Return the reason why the checksum file at `path` does not confirm that the file `name` has `digest`, or None."""
    try:
        if not stat.S_ISREG(path.stat().st_mode) or path.stat().st_size > _MAX_BYTES:
            return f"is not a regular file, or is larger than {_MAX_BYTES >> 20} MiB"
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return f"cannot be read: {error}"
    listed = []
    for line in filter(None, lines):
        if (match := _LINE.fullmatch(line)) is None:
            return "is not a list of checksums"
        if match[2] == name:
            listed.append(match[1].lower())
    if not listed:
        return f"has no checksum for {name}"
    if not all(hmac.compare_digest(each, digest) for each in listed):
        return f"does not match the archive: expected {listed[0]}, got {digest}"
    return None


def check_copies(package: ReceivedPackage) -> CheckResult:
    """Check that manifest and README next to the archive, if they exist, are identical to those in it."""
    copies = [name for name in _COPIED if name in package.files and os.path.lexists(package.path.with_name(name))]
    findings = tuple(
        VerificationFinding(check=_COPIES, message=f"{name} differs from the one in {package.path.name}")
        for name in copies
        if not _has_digest(package.path.with_name(name), package.files[name].sha256)
    )
    return CheckResult(name=_COPIES, summary=f"compared: {', '.join(copies) or 'no files'}", findings=findings)


def _has_digest(path: Path, sha256: str) -> bool:
    return path.is_file() and file_digest(path).sha256 == sha256
