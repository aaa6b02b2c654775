"""What a target wants written: paths to bytes, or to a file that is copied. Sorted, without owner or time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file that is copied. With `sha256` (hex) the copy must have it: the file must not have changed since."""

    path: Path
    sha256: str | None = None


Content = bytes | Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a tree."""

    path: PurePosixPath
    content: Content
    executable: bool = False


class OutputTree:
    """Files by their relative paths. A path can be given once, and nothing lies below a file."""

    def __init__(self) -> None:
        self._entries: dict[PurePosixPath, Entry] = {}
        self._folders: set[PurePosixPath] = set()

    def add(self, path: str | PurePosixPath, content: Content, *, executable: bool = False) -> PurePosixPath:
        """Put a file at `path`, relative to the output directory. Raises ValueError where it cannot lie there."""
        place = PurePosixPath(path)
        if place.is_absolute() or not place.parts or ".." in place.parts or "\0" in str(place):
            raise ValueError(f"{str(path)!r} is not inside the output directory")
        parents = [each for each in place.parents if each.parts]
        if place in self._entries or place in self._folders or any(each in self._entries for each in parents):
            raise ValueError(f"{place} is given twice")
        self._entries[place] = Entry(path=place, content=content, executable=executable)
        self._folders.update(parents)
        return place

    def text(self, path: str | PurePosixPath, text: str) -> PurePosixPath:
        """Put UTF-8 text at `path`, with a newline at its end."""
        return self.add(path, (text if text.endswith("\n") else text + "\n").encode())

    def merge(self, other: OutputTree) -> None:
        """Take in all files of another tree."""
        for entry in other:
            self.add(entry.path, entry.content, executable=entry.executable)

    def __iter__(self) -> Iterator[Entry]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.path.parts))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, path: object) -> bool:
        return path in self._entries
