"""The files beside an archive and the archive itself: all of them lie there in the end, or none does."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from .archive.members import Member
from .archive_errors import failed, reason


class Files:
    """The files that this run writes into one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []

    def place(self, name: str) -> Path:
        """Where a file is."""
        return self.folder / name

    def add(self, name: str) -> Path:
        """Where to write a file that does not exist yet. Raises FileExistsError."""
        place = self.place(name)
        if place.exists():
            raise FileExistsError(errno.EEXIST, "is there already", str(place))
        self.names.append(name)
        return place

    def discard(self, name: str) -> None:
        """Remove a file that was added, as far as it was written."""
        self.names.remove(name)
        self.place(name).unlink(missing_ok=True)

    def write(self, member: Member) -> None:
        """Write a small file. Raises OSError."""
        assert isinstance(member.content, bytes)
        with self.add(str(member.path)).open("xb") as file:
            file.write(member.content)


@contextlib.contextmanager
def all_or_nothing(folder: Path, archive: str) -> Iterator[Files]:
    """Removes what was written when something goes wrong, and turns OSError into StageError."""
    files, made = Files(folder), not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
        yield files
    except BaseException as error:
        for name in files.names:
            files.place(name).unlink(missing_ok=True)
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if not isinstance(error, OSError):
            raise
        said = reason(error)
        raise failed(
            f"the archive {archive} cannot be written: {said}",
            archive=archive,
            remediation="See that the output directory's file system is writable and has room, and try again.",
            io_errors=[said],
        ) from None
