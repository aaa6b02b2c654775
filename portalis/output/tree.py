"""The files that a target generates: relative paths with bytes, or with a file to copy, without owners and times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedFile:
    """A file to copy. If `sha256` (hex) is set, the copy must have that digest, or the file has changed."""

    path: Path
    sha256: str | None = None


Content = bytes | CopiedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """One file of a tree, by its path in the output directory."""

    path: PurePosixPath
    content: Content
    executable: bool = False


class OutputTree:
    """Files by their relative paths, in sorted order. Each path is unique, and no path is below a file."""

    def __init__(self) -> None:
        self._entries: dict[PurePosixPath, OutputFile] = {}
        self._folders: set[PurePosixPath] = set()

    def add(self, path: str | PurePosixPath, content: Content, *, executable: bool = False) -> PurePosixPath:
        """Add a file at `path` in the output directory. Raises ValueError for an invalid or repeated path."""
        relative = PurePosixPath(path)
        if relative.is_absolute() or not relative.parts or ".." in relative.parts or "\0" in str(relative):
            raise ValueError(f"{str(path)!r} is not inside the output directory")
        parents = [each for each in relative.parents if each.parts]
        if relative in self._entries or relative in self._folders or any(each in self._entries for each in parents):
            raise ValueError(f"{relative} is added twice")
        self._entries[relative] = OutputFile(path=relative, content=content, executable=executable)
        self._folders.update(parents)
        return relative

    def text(self, path: str | PurePosixPath, text: str, *, executable: bool = False) -> PurePosixPath:
        """Add a UTF-8 text at `path`, with a newline at its end."""
        return self.add(path, (text if text.endswith("\n") else text + "\n").encode(), executable=executable)

    def merge(self, other: OutputTree) -> None:
        """Add all files of another tree."""
        for entry in other:
            self.add(entry.path, entry.content, executable=entry.executable)

    def __iter__(self) -> Iterator[OutputFile]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.path.parts))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, path: object) -> bool:
        return path in self._entries
