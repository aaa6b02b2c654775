"""The file of a shared memory region: a POSIX shared memory object, which is read and written by system calls, or
mapped."""

from __future__ import annotations

import os
import stat

from ..request_errors import RequestError
from ..runtime_api import FileMapping, map_file

DIRECTORY = "/dev/shm"  # noqa: S108  # where Linux has the objects of shm_open
MAX_KEY_CHARACTERS = 512  # a file name has at most 255 bytes
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class RegionFile:
    """The shared memory object `key`, as in ``shm_open``, opened for reading and writing."""

    def __init__(self, key: str) -> None:
        """Raises RequestError with status 500 if the object cannot be opened, or is none."""
        name = key.lstrip("/")  # as the C library does
        if not name or name in (".", "..") or "/" in name or "\0" in name or len(key) > MAX_KEY_CHARACTERS:
            raise _unopened(key, f"A key names one object in {DIRECTORY}")
        try:
            self._descriptor = os.open(f"{DIRECTORY}/{name}", os.O_RDWR | _FLAGS)
        except OSError as error:
            raise _unopened(key, str(error.strerror)) from None
        except UnicodeEncodeError:
            raise _unopened(key, "The key has a character that no file name can have") from None
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self.close()
            raise _unopened(key, "It is not a shared memory object")

    def size(self) -> int:
        """The current size in bytes."""
        return os.fstat(self._descriptor).st_size

    def read_into(self, buffer: memoryview, position: int) -> bool:
        """Fill `buffer` with the bytes from `position` on. Returns False if the object ends before that."""
        while buffer:
            count = os.preadv(self._descriptor, [buffer], position)
            if not count:
                return False
            buffer, position = buffer[count:], position + count
        return True

    def write(self, data: bytes | memoryview, position: int) -> bool:
        """Write `data` from `position` on. Returns False, without a change, if the object ends before that. Raises
        OSError if the system has no memory for the data."""
        if position + len(data) > self.size():  # a write behind the end would enlarge the object
            return False
        rest = memoryview(data)
        while rest:
            count = os.pwritev(self._descriptor, [rest], position)
            rest, position = rest[count:], position + count
        return True

    def map(self, position: int, size: int) -> FileMapping | None:
        """A mapping of the `size` bytes from `position` on, which stays valid after `close`; None if the system has no
        safe mappings, or refuses this one."""
        return map_file(self._descriptor, position, size)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _unopened(key: str, reason: str) -> RequestError:
    return RequestError(500, "SharedMemoryError", f"Unable to open shared memory region: '{key[:256]}'. {reason}")
