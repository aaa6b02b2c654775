"""POSIX shared memory objects with names of their own, as a client creates them."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path("/dev/shm")
_NUMBERS = itertools.count()


class SharedObject:
    """A shared memory object: `key` is its name for ``shm_open``, `path` its file."""

    def __init__(self) -> None:
        self.key = f"/portalis-test-{os.getpid()}-{next(_NUMBERS)}"
        self.path = FOLDER / self.key[1:]

    def write(self, data: bytes, offset: int = 0) -> None:
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def read(self) -> bytes:
        return self.path.read_bytes()

    def resize(self, size: int) -> None:
        os.truncate(self.path, size)


@contextlib.contextmanager
def shared_object(size: int) -> Iterator[SharedObject]:
    """An object of `size` zeros, which is removed at the end."""
    found = SharedObject()
    found.path.write_bytes(bytes(size))
    try:
        yield found
    finally:
        found.path.unlink(missing_ok=True)


def open_objects() -> list[str]:
    """The shared memory objects of these tests that this process has open, one entry for each file."""
    files = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            files.append(str(each.readlink()))
    return [file for file in files if file.startswith(f"{FOLDER}/portalis-test-{os.getpid()}-")]
