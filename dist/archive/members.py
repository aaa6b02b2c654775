"""The files of an archive before it is written: each with its size and digest, at one place below the top folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...digests import file_digest, sha256_hex
from ..archive_errors import failed
from .paths import folded, path_trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file at `path`, relative to the top folder of the archive. `content` is the bytes, or the file that has them;
    what is written has to have `size_bytes` and `sha256` (hex)."""

    path: PurePosixPath
    content: bytes | Path
    size_bytes: int
    sha256: str
    executable: bool = False
    kind: str = ""
    """What the manifest calls it, such as ``rust_source``. Empty for what an earlier stage made."""
    staged: PurePosixPath | None = None
    """Where it lies in the output directory, when an earlier stage made it."""


def from_bytes(path: str | PurePosixPath, data: bytes, kind: str) -> Member:
    """A file that is not on disk."""
    return Member(path=PurePosixPath(path), content=data, size_bytes=len(data), sha256=sha256_hex(data), kind=kind)


def from_file(path: str | PurePosixPath, source: Path, kind: str) -> Member:
    """A file on disk, read once for its digest. Raises OSError."""
    digest = file_digest(source)
    return Member(
        path=PurePosixPath(path),
        content=source,
        size_bytes=digest.size_bytes,
        sha256=digest.sha256,
        executable=is_executable(source),
        kind=kind,
    )


def is_executable(path: Path) -> bool:
    """Whether the owner may run the file: the one permission that does not depend on the umask. Raises OSError."""
    return bool(path.stat().st_mode & 0o100)


class Members:
    """Files by their paths. A path can be given once, also where capitals do not count, and nothing lies below a
    file."""

    def __init__(self, members: Iterable[Member] = ()) -> None:
        self._files: dict[PurePosixPath, Member] = {}
        self._folders: set[PurePosixPath] = set()
        self._taken: dict[str, str] = {}
        for member in members:
            self.add(member)

    def add(self, member: Member) -> None:
        """Put a file at its path. Raises StageError where another file or folder is, and for a path that cannot be
        unpacked everywhere, as `portalis verify` would refuse it."""
        self._check_name(str(member.path))
        parents = [each for each in member.path.parents if each.parts]
        taken = member.path in self._files or member.path in self._folders
        if taken or any(each in self._files for each in parents):
            raise failed(
                f"two files of the archive would be at {os.fspath(member.path)!r}",
                remediation="Rename the module, model or document that one of them comes from.",
            )
        self._files[member.path] = member
        self._folders.update(parents)

    def _check_name(self, path: str) -> None:
        other = self._taken.setdefault(folded(path), path)
        if (why := path_trouble(path)) is None and other != path:
            why = f"and {other!a} are one file where capitals do not count"
        if why is not None:
            raise failed(
                f"{path!a} cannot be in an archive: it {why}" if other == path else f"{path!a} {why}",
                remediation="Rename the module, model or document that it comes from.",
            )

    @property
    def folders(self) -> tuple[PurePosixPath, ...]:
        """All folders, sorted, without the top one."""
        return tuple(sorted(self._folders, key=lambda path: path.parts))

    @property
    def size_bytes(self) -> int:
        """What all files hold together."""
        return sum(member.size_bytes for member in self._files.values())

    def __iter__(self) -> Iterator[Member]:
        return iter(sorted(self._files.values(), key=lambda member: member.path.parts))

    def __len__(self) -> int:
        return len(self._files)
