"""Members: the files of an archive before it is written, each with its path, size and digest, and the plan and reader
that the writers of all formats share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ...digests import file_digest, sha256_hex
from ..archive_errors import archive_error
from .archive_paths import fold_path, path_problem

# per file or directory: headers with the longest usual names, and padding
_HEADERS_BYTES = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file at `path`, relative to the top directory of the archive. `content` is the bytes, or the file that contains
    them; when it is written, it must have `size_bytes` and `sha256` (hex)."""

    path: PurePosixPath
    content: bytes | Path
    size_bytes: int
    sha256: str
    executable: bool = False
    kind: str = ""
    """Its type in the manifest, for example ``rust_source``. Empty for a file that an earlier stage created."""
    staged: PurePosixPath | None = None
    """Its path in the output directory, for a file that an earlier stage created."""


def bytes_member(path: str | PurePosixPath, data: bytes, kind: str) -> Member:
    """Create a member with the content `data`."""
    return Member(path=PurePosixPath(path), content=data, size_bytes=len(data), sha256=sha256_hex(data), kind=kind)


def file_member(path: str | PurePosixPath, source: Path, kind: str) -> Member:
    """Create a member with the content of the file `source`, which is read once for its digest. Raises OSError."""
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
    """Whether the owner can execute the file: the only permission that does not depend on the umask. Raises OSError."""
    return bool(path.stat().st_mode & 0o100)


class Members:
    """The members of an archive by path. Paths are unique even if case is ignored, and no path is below a file."""

    def __init__(self, members: Iterable[Member] = ()) -> None:
        self._files: dict[PurePosixPath, Member] = {}
        self._folders: set[PurePosixPath] = set()
        self._by_folded_path: dict[str, str] = {}
        for member in members:
            self.add(member)

    def add(self, member: Member) -> None:
        """Add a member. Raises StageError if its path is in use, or is one that `portalis verify` would reject."""
        self._check_path(str(member.path))
        parents = [each for each in member.path.parents if each.parts]
        in_use = member.path in self._files or member.path in self._folders
        if in_use or any(each in self._files for each in parents):
            raise archive_error(
                f"two files of the archive have the path {os.fspath(member.path)!r}",
                remediation="Rename the module, model or document that one of them comes from.",
            )
        self._files[member.path] = member
        self._folders.update(parents)

    def _check_path(self, path: str) -> None:
        other = self._by_folded_path.setdefault(fold_path(path), path)
        if (reason := path_problem(path)) is not None:
            message = f"{path!a} cannot be in an archive: it {reason}"
        elif other != path:
            message = f"{path!a} and {other!a} are the same file on a file system that ignores case"
        else:
            return
        raise archive_error(message, remediation="Rename the module, model or document that it comes from.")

    @property
    def folders(self) -> tuple[PurePosixPath, ...]:
        """All directories, sorted, without the top directory."""
        return tuple(sorted(self._folders, key=lambda path: path.parts))

    @property
    def size_bytes(self) -> int:
        """Total size of all files, uncompressed."""
        return sum(member.size_bytes for member in self._files.values())

    def __iter__(self) -> Iterator[Member]:
        return iter(sorted(self._files.values(), key=lambda member: member.path.parts))

    def __len__(self) -> int:
        return len(self._files)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePlan:
    """An archive to write: `members` below the directory `top`, all with the modification time `epoch` (seconds since
    1970)."""

    top: str
    members: Members
    epoch: int
    level: int
    """Compression level, 0 to 9, as defined by each format: 0 stores in gzip and ZIP, and is the fastest preset of xz.
    bzip2 cannot store: 0 is treated as 1."""

    @property
    def folders(self) -> tuple[PurePosixPath, ...]:
        """All directories of the archive, sorted, the top directory first."""
        return (PurePosixPath(self.top), *(PurePosixPath(self.top, folder) for folder in self.members.folders))

    @property
    def max_bytes(self) -> int:
        """Upper bound of the archive's size, reached if no member can be compressed."""
        count = len(self.members) + len(self.folders)
        return self.members.size_bytes + self.members.size_bytes // 100 + count * _HEADERS_BYTES


class MemberReader:
    """A file-like object that reads a member, for use with ``with``. It checks size and digest, so that the archive
    contains exactly the planned bytes.

    Raises StageError if the content differs from the plan, and OSError if it cannot be read. `advance` is called with
    the number of bytes of each read.
    """

    def __init__(self, advance: Callable[[int], None], member: Member) -> None:
        self.member = member
        self._advance = advance
        self._remaining = member.size_bytes
        self._digest = hashlib.sha256()
        content = member.content
        self._file: BinaryIO = BytesIO(content) if isinstance(content, bytes) else content.open("rb")

    def __enter__(self) -> MemberReader:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if failure is None and (
                self._remaining or self._file.read(1) or self._digest.hexdigest() != self.member.sha256
            ):
                raise self._changed()

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes, and never more than planned: archive formats store the size before the content."""
        wanted = self._remaining if size < 0 else min(size, self._remaining)
        data = self._file.read(wanted)
        if len(data) < wanted:
            raise self._changed()
        self._remaining -= len(data)
        self._digest.update(data)
        self._advance(len(data))
        return data

    def _changed(self) -> Exception:
        path = self.member.content if isinstance(self.member.content, Path) else self.member.path
        return archive_error(
            f"{path} changed while it was packed",
            remediation="Make sure that no other process writes to this file, then package again.",
        )


OpenMember = Callable[[Member], MemberReader]
