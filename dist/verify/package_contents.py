"""Contents of a package: size and digest of each file, and findings about the names and types of its entries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ...digests import FileDigest
from ..archive import fold_path, path_problem
from .entries import DOWNLOAD_AGAIN, ArchiveEntry, EntryKind, UnsafeArchive
from .received_package import VerificationFinding

PATHS, STRUCTURE = "paths", "structure"
MAX_KEPT_BYTES = 16 << 20  # per file
_MAX_KEPT_FILES = 8
_DO_NOT_UNPACK = "Do not unpack the archive: packages that portalis creates never contain this. " + DOWNLOAD_AGAIN


@dataclass(slots=True)
class PackageContents:
    """The files by name, the bytes of small files that checks parse (`kept`), and findings."""

    files: dict[str, FileDigest] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    kept: dict[str, bytes] = field(default_factory=dict)
    findings: list[VerificationFinding] = field(default_factory=list)
    is_complete: bool = True
    """Whether all entries could be read."""

    @property
    def size_bytes(self) -> int:
        """Total size of all files."""
        return sum(each.size_bytes for each in self.files.values())


def read_contents(entries: Iterable[ArchiveEntry], keep: Callable[[str], bool]) -> PackageContents:
    """Read all `entries`. `keep` selects by name the files whose bytes are kept.

    If an entry cannot be read, that is a finding, and `files` has the entries before it.
    """
    contents = PackageContents()
    names: dict[str, str] = {}
    try:
        for entry in entries:
            contents.findings += _entry_findings(entry, names)
            names.setdefault(fold_path(entry.name), entry.name)
            if entry.kind is EntryKind.Folder:
                contents.folders.add(entry.name)
            elif entry.kind is EntryKind.File:
                digest, data = _read(entry, is_kept=len(contents.kept) < _MAX_KEPT_FILES and keep(entry.name))
                contents.files.setdefault(entry.name, digest)
                if data is not None:
                    contents.kept.setdefault(entry.name, data)
    except UnsafeArchive as error:
        finding = VerificationFinding(check=STRUCTURE, message=error.message, remediation=error.remediation)
        contents.findings.append(finding)
        contents.is_complete = False
    except (MemoryError, RecursionError):
        message = "not enough memory to read the package"
        contents.findings.append(VerificationFinding(check=STRUCTURE, message=message))
        contents.is_complete = False
    contents.findings += _nested_file_findings(contents)
    return contents


def _entry_findings(entry: ArchiveEntry, names: dict[str, str]) -> Iterator[VerificationFinding]:
    name = ascii(entry.name)
    if (reason := path_problem(entry.name)) is not None:
        yield _path_finding(f"{name} {reason}")
    if entry.kind is EntryKind.Other:
        yield _path_finding(f"{name} is {entry.description}")
    if entry.mode & 0o7000:
        yield _path_finding(f"{name} has a setuid, setgid or sticky bit: its mode is {entry.mode & 0o7777:o}")
    if (other := names.get(fold_path(entry.name))) == entry.name:
        yield _path_finding(f"{name} occurs twice")
    elif other is not None:
        yield _path_finding(f"{name} and {other!a} are the same file on a file system that ignores case")


def _nested_file_findings(contents: PackageContents) -> Iterator[VerificationFinding]:
    """Findings for files whose path is below that of another file."""
    files = {fold_path(name) for name in contents.files}
    for name in contents.files:
        parts = fold_path(name).split("/")
        if any("/".join(parts[:i]) in files for i in range(1, len(parts))):
            yield _path_finding(f"a parent directory of {name!a} is a file")


def _path_finding(message: str) -> VerificationFinding:
    return VerificationFinding(check=PATHS, message=message, remediation=_DO_NOT_UNPACK)


def _read(entry: ArchiveEntry, *, is_kept: bool) -> tuple[FileDigest, bytes | None]:
    digest, size = hashlib.sha256(), 0
    data = bytearray() if is_kept else None
    for chunk in entry.content:
        digest.update(chunk)
        size += len(chunk)
        if data is not None:
            data += chunk
            if size > MAX_KEPT_BYTES:
                raise UnsafeArchive(f"{entry.name!a} is larger than {MAX_KEPT_BYTES >> 20} MiB")
    return FileDigest(size_bytes=size, sha256=digest.hexdigest()), None if data is None else bytes(data)
