"""Reads the entries of a folder on disk; nothing that is a link is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .entry import Entry, Kind
from .limits import Limits
from .refused import Refused

_PIECE = 1 << 20
_MAX_DEPTH = 64


def folder_entries(root: Path, limits: Limits) -> Iterator[Entry]:
    """Everything below `root`, with names relative to it. Raises Refused, and OSError for what cannot be read."""
    waiting: list[tuple[Path, int]] = [(root, 0)]
    count = size = 0
    while waiting:
        folder, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise Refused(f"it has folders more than {_MAX_DEPTH} deep")
        with os.scandir(folder) as scan:
            for found in scan:
                limits.check_entries(count := count + 1)
                path = Path(found.path)
                name = path.relative_to(root).as_posix()
                mode = found.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    waiting.append((path, depth + 1))
                    yield Entry(name=name, kind=Kind.Folder, mode=mode)
                elif stat.S_ISREG(mode):
                    size += found.stat(follow_symlinks=False).st_size
                    if size > limits.max_bytes:
                        limits.check_bytes(size, size)
                    yield Entry(name=name, kind=Kind.File, mode=mode, content=_content(path))
                else:
                    what = "a symbolic link" if stat.S_ISLNK(mode) else "a device, pipe or socket"
                    yield Entry(name=name, kind=Kind.Other, what=what)


def _content(path: Path) -> Iterator[bytes]:
    # between the look and this it may have become a link, or a pipe that would never be opened
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        while piece := file.read(_PIECE):
            yield piece
