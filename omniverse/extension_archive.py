"""The extension as one file: a ZIP with the extension's contents at its root, the same bytes for the same contents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..output.zips import ZipMember, write_zip

LEVEL = 6  # with the wheels in it, 9 takes twice as long for one part in a hundred
_EPOCH = 315_532_800  # 1980, the earliest time that a ZIP can say


def write(folder: Path, target: Path) -> None:
    """Pack all files of `folder` into `target`, which must not exist. Raises OSError."""
    with target.open("xb") as file:
        write_zip(file, _members(folder), epoch=_EPOCH, level=LEVEL)


def _members(folder: Path) -> Iterator[ZipMember]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        # no mode of the file on disk: Kit makes all that it unpacks readable, and runs none of it as a program
        yield ZipMember(name=name, content=path.open("rb"), size_bytes=path.stat().st_size)
