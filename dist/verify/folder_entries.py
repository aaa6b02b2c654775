"""Reads the entries of a directory on disk, without following links."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .entries import ArchiveEntry, EntryKind, ReadLimits, UnsafeArchive

_CHUNK_BYTES = 1 << 20
_MAX_DEPTH = 64


def folder_entries(root: Path, limits: ReadLimits) -> Iterator[ArchiveEntry]:
    """Yield all entries below `root`, with names relative to it. Raises UnsafeArchive, and OSError if a file cannot be
    read."""
    pending: list[tuple[Path, int]] = [(root, 0)]
    count = size = 0
    while pending:
        folder, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise UnsafeArchive(f"directories are nested more than {_MAX_DEPTH} levels deep")
        with os.scandir(folder) as scan:
            for entry in scan:
                limits.check_entries(count := count + 1)
                path = Path(entry.path)
                name = path.relative_to(root).as_posix()
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    pending.append((path, depth + 1))
                    yield ArchiveEntry(name=name, kind=EntryKind.Folder, mode=mode)
                elif stat.S_ISREG(mode):
                    size += entry.stat(follow_symlinks=False).st_size
                    if size > limits.max_bytes:
                        limits.check_bytes(size, size)
                    yield ArchiveEntry(name=name, kind=EntryKind.File, mode=mode, content=_content(path))
                else:
                    description = "a symbolic link" if stat.S_ISLNK(mode) else "a device, pipe or socket"
                    yield ArchiveEntry(name=name, kind=EntryKind.Other, description=description)


def _content(path: Path) -> Iterator[bytes]:
    # since its mode was read, the file may have been replaced by a link, or by a pipe, which would block
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
