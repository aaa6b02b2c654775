"""A group of files in one directory that are written together: on an exception, all of them are removed."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path


class FileGroup:
    """New files in one directory, by name, in the order in which they were added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []

    def path(self, name: str) -> Path:
        """Return the path of a file."""
        return self.folder / name

    def add(self, name: str) -> Path:
        """Register a file that does not exist yet, and return the path to write it to. Raises FileExistsError."""
        path = self.path(name)
        if path.exists():
            raise FileExistsError(errno.EEXIST, "already exists", str(path))
        self.names.append(name)
        return path

    def discard(self, name: str) -> None:
        """Remove a file that was added, complete or not."""
        self.names.remove(name)
        self.path(name).unlink(missing_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """Add and write a small file. Raises OSError."""
        with self.add(name).open("xb") as file:
            file.write(data)


@contextlib.contextmanager
def file_group(folder: Path) -> Iterator[FileGroup]:
    """Create `folder` if it is missing, and yield a group of files in it. On an exception, remove the files, and the
    directory if it was created here."""
    files, created = FileGroup(folder), not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
        yield files
    except BaseException:
        for name in files.names:
            files.path(name).unlink(missing_ok=True)
        if created:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
