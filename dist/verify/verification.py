"""Verifies an archive, an unpacked package, or the output directory of a run."""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ...errors import UsageError
from ...output.package_layout import ARCHIVES, PUBLISH_SCRIPT, REPORT
from ...spec.distribution import ArchiveFormat, ChecksumAlgorithm
from ..archive import ARCHIVE_ENDINGS, file_checksums
from ..attest.dsse import Verifier
from .attestation_check import signature_check
from .entries import ArchiveEntry, ReadLimits, UnsafeArchive
from .folder_entries import folder_entries
from .manifest_check import MANIFEST_CHECK, MANIFESTS, check_manifest
from .package_contents import PATHS, STRUCTURE, PackageContents, read_contents
from .received_package import Check, CheckResult, ReceivedPackage, VerificationFinding
from .sidecars import check_checksum_files, check_copies
from .streams import MAGIC, DecompressedFile
from .tar_entries import tar_entries
from .zip_entries import zip_entries

# files of an output directory that its manifest does not list
_NOT_LISTED = frozenset({REPORT, PUBLISH_SCRIPT})
_PROOF = "proof"
_CHECKS: tuple[Check, ...] = (check_checksum_files, check_manifest)
_EXPECTED_PATH = "Pass the path of an archive or a directory."


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """The results of all checks of a package. `archives` are the reports on the archives in a directory."""

    path: Path
    archive_format: ArchiveFormat | None
    """None for a directory."""
    checks: tuple[CheckResult, ...]
    file_count: int
    size_bytes: int
    digests: dict[ChecksumAlgorithm, str]
    archives: tuple[VerificationReport, ...] = ()

    @property
    def findings(self) -> tuple[VerificationFinding, ...]:
        """The findings of all checks, in their order, without those of `archives`."""
        return tuple(finding for check in self.checks for finding in check.findings)

    @property
    def verified(self) -> bool:
        """Whether neither this report nor those of `archives` have findings."""
        return not self.findings and all(each.verified for each in self.archives)


def verify_package(path: Path, limits: ReadLimits, key: Verifier | None = None) -> VerificationReport:
    """Verify the archive or directory at `path`. With a `key`, archives must be signed with it.

    Raises UsageError if `path` has nothing that can be verified, and OSError if a file cannot be read.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", remediation=_EXPECTED_PATH) from None
    checks = (*_CHECKS, signature_check(key))
    if stat.S_ISREG(mode):
        return _verify_archive(path, limits, checks)
    if stat.S_ISDIR(mode):
        return _verify_folder(path, limits, checks)
    raise UsageError(f"{path} is neither a file nor a directory", remediation=_EXPECTED_PATH)


def _verify_folder(path: Path, limits: ReadLimits, checks: tuple[Check, ...]) -> VerificationReport:
    is_output = (path / REPORT).is_file()
    paths = _archives_in(path / ARCHIVES if is_output else path)
    archives = tuple(_verify_archive(each, limits, (*checks, check_copies)) for each in paths)
    if archives and not is_output:  # a manifest in this directory is a copy of the archive's
        return VerificationReport(
            path=path, archive_format=None, checks=(), file_count=0, size_bytes=0, digests={}, archives=archives
        )
    if not any((path / name).is_file() for name in MANIFESTS):
        raise UsageError(
            f"{path} contains neither a manifest nor an archive, so it cannot be verified",
            remediation="Pass the path of an archive, of a directory with archives, or of a directory with one of"
            f" {', '.join(MANIFESTS)}.",
        )
    contents = read_contents(folder_entries(path, limits), MANIFESTS.__contains__)
    for name in _NOT_LISTED if is_output else ():
        contents.files.pop(name, None)
    package = _received_package(path, contents, top="")
    return dataclasses.replace(_report(package, contents, None, checks), archives=archives)


def _archives_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    endings = tuple(ARCHIVE_ENDINGS.values())
    return sorted(each for each in folder.iterdir() if each.name.endswith(endings) and each.is_file())


def _verify_archive(path: Path, limits: ReadLimits, checks: tuple[Check, ...]) -> VerificationReport:
    with path.open("rb") as file:
        archive_format = _detect_format(file)
        contents = read_contents(_entries(file, archive_format, limits), _is_manifest)
    if archive_format is not None and not path.name.endswith(ARCHIVE_ENDINGS[archive_format]):
        ending = ARCHIVE_ENDINGS[archive_format]
        contents.findings.append(
            _structure_finding(f"the archive is a {ending} file, but its name has a different ending")
        )
    top = _strip_top(contents)
    package = _received_package(path, contents, top=top, digests=file_checksums(path, ChecksumAlgorithm))
    return _report(package, contents, archive_format, checks)


def _detect_format(file: BinaryIO) -> ArchiveFormat | None:
    start = file.read(8)
    file.seek(0)
    return next((each for each, magic in MAGIC.items() if start.startswith(magic)), None)


def _entries(file: BinaryIO, archive_format: ArchiveFormat | None, limits: ReadLimits) -> Iterator[ArchiveEntry]:
    if archive_format is None:
        raise UnsafeArchive("not an archive in a supported format, or damaged: its first bytes match no format")
    if archive_format is ArchiveFormat.Zip:
        yield from zip_entries(file, file.seek(0, 2), limits)
    else:
        yield from tar_entries(DecompressedFile(file, archive_format, limits), limits)


def _is_manifest(name: str) -> bool:
    return name.partition("/")[2] in MANIFESTS


def _strip_top(contents: PackageContents) -> str:
    """Remove the top directory from all paths, and return its name. Adds findings if it is not the only one, and for
    empty directories."""
    names = [*contents.files, *contents.folders]
    tops = {name.partition("/")[0] for name in names}
    top = min(tops, default="")
    if contents.is_complete and (len(tops) != 1 or top in contents.files):
        message = "the files of the archive are not in a single top directory" if names else "the archive is empty"
        contents.findings.append(_structure_finding(message))
    prefix = f"{top}/"
    contents.files = {name.removeprefix(prefix): digest for name, digest in contents.files.items()}
    contents.kept = {name.removeprefix(prefix): data for name, data in contents.kept.items()}
    parents = {"/".join(name.split("/")[:i]) for name in contents.files for i in range(1, name.count("/") + 1)}
    for name in sorted({each.removeprefix(prefix) for each in contents.folders} - parents - {top}):
        contents.findings.append(_structure_finding(f"{name!a} is an empty directory"))
    return top


def _received_package(
    path: Path, contents: PackageContents, *, top: str, digests: dict[ChecksumAlgorithm, str] | None = None
) -> ReceivedPackage:
    return ReceivedPackage(
        path=path,
        is_archive=digests is not None,
        top=top,
        files=contents.files,
        kept=contents.kept,
        digests=digests or {},
        is_complete=contents.is_complete,
    )


def _report(
    package: ReceivedPackage,
    contents: PackageContents,
    archive_format: ArchiveFormat | None,
    checks: tuple[Check, ...],
) -> VerificationReport:
    structure = tuple(each for each in contents.findings if each.check == STRUCTURE)
    paths = tuple(each for each in contents.findings if each.check == PATHS)
    results = [
        CheckResult(name=STRUCTURE, summary="read completely, within the limits", findings=structure),
        CheckResult(name=PATHS, summary="no path points outside the package; no links or devices", findings=paths),
        *(check(package) for check in checks),
    ]
    results.append(_proof(results))
    return VerificationReport(
        path=package.path,
        archive_format=archive_format,
        checks=tuple(results),
        file_count=len(package.files),
        size_bytes=contents.size_bytes,
        digests=dict(package.digests),
    )


def _proof(results: list[CheckResult]) -> CheckResult:
    """The result that lists the checks which compared the contents with something. A manifest in the package does not
    prove its own authenticity, so the summary says if it is the only proof."""
    proving = [each.name for each in results if each.proves]
    if not proving and not any(each.findings for each in results):
        message = "the contents cannot be verified: the package has no manifest, checksum file or provenance"
        finding = VerificationFinding(check=_PROOF, message=message)
        return CheckResult(name=_PROOF, summary="", findings=(finding,))
    if proving == [MANIFEST_CHECK]:
        summary = "only its own manifest; --key, or a checksum file from a trusted source, is a stronger proof"
        return CheckResult(name=_PROOF, summary=summary)
    return CheckResult(name=_PROOF, summary=", ".join(proving))


def _structure_finding(message: str) -> VerificationFinding:
    return VerificationFinding(check=STRUCTURE, message=message)
