"""What a package turns out to hold: each file's size and digest, and all that is wrong with names and kinds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ..archive.paths import folded, path_trouble
from .entry import Entry, Kind
from .limits import SMALL_FILE_BYTES
from .refused import AGAIN, Refused
from .shipped import Finding

PATHS, STRUCTURE = "paths", "structure"
_MOST_KEPT = 8
_DO_NOT_UNPACK = "Do not unpack it: packages that portalis makes have none of that. " + AGAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A file as it was read."""

    size_bytes: int
    sha256: str


@dataclass(slots=True)
class Contents:
    """The files by their names, `kept` the bytes of small ones that checks want to read, and findings."""

    files: dict[str, Seen] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    kept: dict[str, bytes] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    whole: bool = True
    """Whether all of it could be read."""

    @property
    def size_bytes(self) -> int:
        """What all files hold together."""
        return sum(each.size_bytes for each in self.files.values())


def read_contents(entries: Iterable[Entry], keep: Callable[[str], bool]) -> Contents:
    """Read all `entries`. `keep` says of a name whether the file's bytes are kept.

    What cannot be read is a finding too, and the files are those before it.
    """
    contents = Contents()
    names: dict[str, str] = {}
    try:
        for entry in entries:
            contents.findings += _troubles(entry, names, contents)
            names.setdefault(folded(entry.name), entry.name)
            if entry.kind is Kind.Folder:
                contents.folders.add(entry.name)
            elif entry.kind is Kind.File:
                seen, data = _read(entry, kept=len(contents.kept) < _MOST_KEPT and keep(entry.name))
                contents.files.setdefault(entry.name, seen)
                if data is not None:
                    contents.kept.setdefault(entry.name, data)
    except Refused as refused:
        message, remediation = refused.message, refused.remediation
        contents.findings.append(Finding(check=STRUCTURE, message=message, remediation=remediation))
        contents.whole = False
    except (MemoryError, RecursionError):
        contents.findings.append(Finding(check=STRUCTURE, message="it takes more memory to read than there is"))
        contents.whole = False
    contents.findings += _below_files(contents)
    return contents


def _troubles(entry: Entry, names: dict[str, str], contents: Contents) -> Iterator[Finding]:
    shown = ascii(entry.name)
    if (why := path_trouble(entry.name)) is not None:
        yield Finding(check=PATHS, message=f"{shown} {why}", remediation=_DO_NOT_UNPACK)
    if entry.kind is Kind.Other:
        yield Finding(check=PATHS, message=f"{shown} is {entry.what}", remediation=_DO_NOT_UNPACK)
    if entry.mode & 0o7000:
        message = f"{shown} would run as another user, or is sticky: its mode is {entry.mode & 0o7777:o}"
        yield Finding(check=PATHS, message=message, remediation=_DO_NOT_UNPACK)
    if (other := names.get(folded(entry.name))) is not None:
        what = "is there twice" if other == entry.name else f"and {other!a} are one name where capitals do not count"
        yield Finding(check=PATHS, message=f"{shown} {what}", remediation=_DO_NOT_UNPACK)


def _below_files(contents: Contents) -> Iterator[Finding]:
    """Files that would lie below other files."""
    files = {folded(name) for name in contents.files}
    for name in contents.files:
        parts = folded(name).split("/")
        if any("/".join(parts[:i]) in files for i in range(1, len(parts))):
            yield Finding(check=PATHS, message=f"{name!a} is below a file", remediation=_DO_NOT_UNPACK)


def _read(entry: Entry, *, kept: bool) -> tuple[Seen, bytes | None]:
    found, size = hashlib.sha256(), 0
    data = bytearray() if kept else None
    for piece in entry.content:
        found.update(piece)
        size += len(piece)
        if data is not None:
            data += piece
            if size > SMALL_FILE_BYTES:
                raise Refused(f"{entry.name!a} is larger than the {SMALL_FILE_BYTES >> 20} MiB that it may have")
    return Seen(size_bytes=size, sha256=found.hexdigest()), None if data is None else bytes(data)
