"""Verifies an archive, an unpacked package, or the output directory of a run."""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ...errors import UsageError
from ...output.package_layout import PUBLISH_SCRIPT, REPORT
from ...spec.distribution import ArchiveFormat, ChecksumAlgorithm
from ..archive.checksums import checksums
from ..archive.writer import ENDINGS
from ..attest.dsse import Verifier
from .copies import check_copies
from .entry import Entry
from .folder_entries import folder_entries
from .limits import Limits
from .manifest_check import MANIFESTS, check_manifest
from .manifest_check import NAME as MANIFEST
from .package_contents import PATHS, STRUCTURE, Contents, read_contents
from .refused import AGAIN, Refused
from .shipped import Finding
from .sidecars import check_sums
from .signatures import signature_check
from .streams import MAGIC, Unpacked
from .subject import Check, Checked, Subject
from .tar_entries import tar_entries
from .zip_entries import zip_entries

# what an output directory has beside what its manifest lists
_NOT_LISTED = frozenset({REPORT, PUBLISH_SCRIPT})
PROOF = "proof"
_CHECKS: tuple[Check, ...] = (check_sums, check_manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found. `within` are the reports on the archives of a folder."""

    path: Path
    packed: ArchiveFormat | None
    """None for a folder."""
    checks: tuple[Checked, ...]
    file_count: int
    size_bytes: int
    digests: dict[ChecksumAlgorithm, str]
    within: tuple[Report, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that is wrong, in the order of the checks."""
        return tuple(finding for check in self.checks for finding in check.findings)

    @property
    def verified(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings and all(each.verified for each in self.within)


def verify(path: Path, limits: Limits, key: Verifier | None = None) -> Report:
    """Verify what lies at `path`. With a `key` an archive has to be signed with it.

    Raises UsageError where there is nothing that could be verified, and OSError for what cannot be read.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", remediation="Name an archive, or a folder.") from None
    checks = (*_CHECKS, signature_check(key))
    if stat.S_ISREG(mode):
        return _archive(path, limits, checks)
    if stat.S_ISDIR(mode):
        return _folder(path, limits, checks)
    raise UsageError(f"{path} is neither a file nor a folder", remediation="Name an archive, or a folder.")


def _folder(path: Path, limits: Limits, checks: tuple[Check, ...]) -> Report:
    is_output = (path / REPORT).is_file()
    archives = _archives(path / "archives" if is_output else path)
    within = tuple(_archive(each, limits, (*checks, check_copies)) for each in archives)
    if archives and not is_output:  # a manifest here is that of the archive
        return Report(path=path, packed=None, checks=(), file_count=0, size_bytes=0, digests={}, within=within)
    if not any((path / name).is_file() for name in MANIFESTS):
        raise UsageError(
            f"{path} has no manifest and no archive in it: nothing says what it should hold",
            remediation=f"Name an archive, a folder with archives, or a folder with one of {', '.join(MANIFESTS)}.",
        )
    contents = read_contents(folder_entries(path, limits), MANIFESTS.__contains__)
    for name in _NOT_LISTED if is_output else ():
        contents.files.pop(name, None)
    subject = _subject(path, contents, top="")
    return dataclasses.replace(_report(subject, contents, None, checks), within=within)


def _archives(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if each.name.endswith(tuple(ENDINGS.values())) and each.is_file())


def _archive(path: Path, limits: Limits, checks: tuple[Check, ...]) -> Report:
    with path.open("rb") as file:
        packed = _format(file)
        contents = read_contents(_entries(file, packed, limits), _is_manifest)
    if packed is not None and not path.name.endswith(ENDINGS[packed]):
        message = f"it is a {ENDINGS[packed]} file under another name"
        contents.findings.append(Finding(check=STRUCTURE, message=message, remediation=AGAIN))
    top = _take_off_top(contents)
    subject = _subject(path, contents, top=top, digests=checksums(path, ChecksumAlgorithm))
    return _report(subject, contents, packed, checks)


def _format(file: BinaryIO) -> ArchiveFormat | None:
    start = file.read(8)
    file.seek(0)
    return next((packed for packed, magic in MAGIC.items() if start.startswith(magic)), None)


def _entries(file: BinaryIO, packed: ArchiveFormat | None, limits: Limits) -> Iterator[Entry]:
    if packed is None:
        raise Refused("it is no archive, or a damaged one: it begins as none of those that portalis makes")
    if packed is ArchiveFormat.Zip:
        yield from zip_entries(file, file.seek(0, 2), limits)
    else:
        yield from tar_entries(Unpacked(file, packed, limits), limits)


def _is_manifest(name: str) -> bool:
    return name.partition("/")[2] in MANIFESTS


def _take_off_top(contents: Contents) -> str:
    """Everything lies in one folder, the name of which is returned; the files then have their paths below it."""
    names = [*contents.files, *contents.folders]
    tops = {name.partition("/")[0] for name in names}
    top = min(tops, default="")
    if contents.whole and (len(tops) != 1 or top in contents.files):
        message = "what is in it does not lie in one folder" if names else "there is nothing in it"
        contents.findings.append(Finding(check=STRUCTURE, message=message, remediation=AGAIN))
    prefix = f"{top}/"
    contents.files = {name.removeprefix(prefix): seen for name, seen in contents.files.items()}
    contents.kept = {name.removeprefix(prefix): data for name, data in contents.kept.items()}
    needed = {"/".join(name.split("/")[:i]) for name in contents.files for i in range(1, name.count("/") + 1)}
    for name in sorted({each.removeprefix(prefix) for each in contents.folders} - needed - {top}):
        message = f"{name!a} is a folder with nothing in it"
        contents.findings.append(Finding(check=STRUCTURE, message=message, remediation=AGAIN))
    return top


def _subject(
    path: Path, contents: Contents, *, top: str, digests: dict[ChecksumAlgorithm, str] | None = None
) -> Subject:
    return Subject(
        path=path,
        is_archive=digests is not None,
        top=top,
        files=contents.files,
        kept=contents.kept,
        digests=digests or {},
        whole=contents.whole,
    )


def _report(subject: Subject, contents: Contents, packed: ArchiveFormat | None, checks: tuple[Check, ...]) -> Report:
    structure = tuple(each for each in contents.findings if each.check == STRUCTURE)
    paths = tuple(each for each in contents.findings if each.check == PATHS)
    done = [
        Checked(name=STRUCTURE, told="read to its end, within the limits", findings=structure),
        Checked(name=PATHS, told="nothing would be unpacked outside its folder; no links or devices", findings=paths),
        *(check(subject) for check in checks),
    ]
    done.append(_proof(done))
    return Report(
        path=subject.path,
        packed=packed,
        checks=tuple(done),
        file_count=len(subject.files),
        size_bytes=contents.size_bytes,
        digests=dict(subject.digests),
    )


def _proof(done: list[Checked]) -> Checked:
    """What all of it is held to. A manifest in the package cannot vouch for itself, and the user is told."""
    proving = [each.name for each in done if each.proves]
    if not proving and not any(each.findings for each in done):
        message = "nothing says what should be in it: it has no manifest, no checksum file and no provenance"
        return Checked(name=PROOF, told="", findings=(Finding(check=PROOF, message=message, remediation=AGAIN),))
    if proving == [MANIFEST]:
        return Checked(name=PROOF, told="its own manifest alone: a checksum file from elsewhere, or --key, tells more")
    return Checked(name=PROOF, told=", ".join(proving))
