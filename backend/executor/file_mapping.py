"""Files in memory that other processes can make smaller at any time: no access to a mapping ends the process."""

from __future__ import annotations

from ctypes import c_char
from typing import Any

import numpy as np

from .core_library import Core
from .executor_factory import native_core


class FileMapping:
    """`size` bytes of a file, mapped by the native library. The memory stays mapped as long as arrays use it."""

    __slots__ = ("_owner", "array")

    def __init__(self, core: Core, handle: int, size: int) -> None:
        self._owner = _MappingOwner(core, handle)
        data: Any = (c_char * size).from_address(core.mapping_data(handle))
        data.owner = self._owner
        self.array: np.ndarray = np.frombuffer(data, np.uint8)
        """The bytes, which other processes read and write at the same time."""

    @property
    def intact_bytes(self) -> int:
        """The number of bytes at the start that are those of the file. The others are zeros, in memory of this process:
        one of them was accessed while the file was smaller, or the system had no memory for it. They stay so."""
        return min(self._owner.intact_bytes(), self.array.size)


class _MappingOwner:
    """Owner of a mapping in the native library, which is removed with this object."""

    __slots__ = ("_core", "_handle")

    def __init__(self, core: Core, handle: int) -> None:
        self._core, self._handle = core, handle

    def intact_bytes(self) -> int:
        count: int = self._core.mapping_intact(self._handle)
        return count

    def __del__(self) -> None:
        self._core.unmap(self._handle)


def map_file(descriptor: int, offset: int, size: int) -> FileMapping | None:
    """A mapping of `size` bytes from `offset` on of an open file, or None if the system or its native library cannot
    map it. The file can be closed afterwards."""
    core = native_core()
    handle = core.map(descriptor, offset, size) if core is not None and size > 0 else None
    return FileMapping(core, handle, size) if core is not None and handle else None
