"""A registered shared memory region: the range of a shared memory object that requests can name.

Large tensors are copied through a mapping of the region, in a third of the time of system calls. A client can make the
object smaller at any time. Then the mapping of the runtime has zeros in place of the missing bytes, which is noticed
after each access; an ordinary mapping would end the process with SIGBUS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..codec.parsed_request import RegionSlice
from ..request_errors import RequestError, input_error
from ..runtime_api import FileMapping
from .region_file import RegionFile

MAPPED_BYTES = 1 << 16
"""From this size on, a tensor is accessed through the mapping: for less, a system call takes less time."""
MAX_MAPPED_BYTES = 1 << 32
"""Maximum size of a region that is mapped: many larger ones would take all addresses of the process."""


@dataclass(frozen=True, slots=True)
class RegionStatus:
    """The description of a region."""

    name: str
    key: str
    """The name of the shared memory object."""
    offset: int
    """The start of the region in the object, in bytes."""
    byte_size: int


class Region:
    """A region with its open file. `users` requests use it at the moment."""

    def __init__(self, status: RegionStatus) -> None:
        """Raises RequestError if the object cannot be opened, or does not contain the region."""
        self.status, self.users = status, 0
        self._file = RegionFile(status.key)
        self._mapping: FileMapping | None = None  # mapped when it is needed
        # offsets and sizes are Python's integers, whose sum does not overflow
        fault = "invalid args" if status.offset + status.byte_size > self._file.size() else ""
        if not status.byte_size:  # which Triton cannot map
            fault = fault or "unable to process address spaceInvalid argument. The region has no bytes"
        if fault:
            self._file.close()
            raise input_error(f"failed to register shared memory region '{status.name}': {fault}")

    def check(self, place: RegionSlice) -> None:
        """Raise RequestError with status 400 unless `place` is within the region."""
        name, end = self.status.name, self.status.byte_size
        if not 0 <= place.offset < end:
            raise input_error(f"Invalid offset for shared memory region: '{name}'. The region has {end} bytes")
        # without data at offset 0 is an error in Triton, which computes the last byte
        if place.size < 0 or not 0 < place.offset + place.size <= end:
            raise self._outside(f"The region has {end} bytes")

    def read_into(self, buffer: memoryview, place: RegionSlice) -> None:
        """Fill `buffer`, whose size is that of `place`. Raises RequestError if the object has become smaller."""
        view = self.view(place)
        if view is not None:
            np.copyto(np.frombuffer(buffer, np.uint8), view.array)
            view.check()
        elif not self._file.read_into(buffer, self.status.offset + place.offset):
            raise self._smaller()

    def write(self, data: bytes | memoryview, place: RegionSlice) -> None:
        """Write `data`, which fits into `place`. Raises RequestError if the object has become smaller, or the system
        has no memory for the data."""
        view = self.view(RegionSlice(place.region, place.offset, len(data)))
        if view is not None:
            view.check()
            np.copyto(view.array, np.frombuffer(data, np.uint8))
            view.check()
            return
        try:
            written = self._file.write(data, self.status.offset + place.offset)
        except OSError as error:
            text = f"cannot write to shared memory region '{self.status.name}': {error.strerror}"
            raise RequestError(500, "SharedMemoryError", text) from None
        if not written:
            raise self._smaller()

    def view(self, place: RegionSlice) -> RegionView | None:
        """The bytes of `place`, without a copy; None if they are few, or the region cannot be mapped."""
        if place.size < MAPPED_BYTES or self.status.byte_size > MAX_MAPPED_BYTES:
            return None
        mapping = self._mapping
        if mapping is None or mapping.intact_bytes < self.status.byte_size:  # in part it is not the object any more
            mapping = self._mapping = self._file.map(self.status.offset, self.status.byte_size)
        return None if mapping is None else RegionView(self, mapping, place)

    def check_view(self, mapping: FileMapping, end: int) -> None:
        """Raise RequestError unless the first `end` bytes of `mapping` were those of the object until now."""
        if self._file.size() < self.status.offset + end:
            raise self._smaller()
        if mapping.intact_bytes < end:
            text = f"cannot access shared memory region '{self.status.name}': the shared memory object was smaller"
            raise RequestError(500, "SharedMemoryError", f"{text} for a time, or the system has no memory for it")

    def close(self) -> None:
        """Close the file. The memory stays mapped as long as views use it."""
        self._mapping = None
        self._file.close()

    def _smaller(self) -> RequestError:
        return self._outside("The shared memory object has become smaller")

    def _outside(self, reason: str) -> RequestError:
        name = self.status.name
        return input_error(f"Invalid offset + byte size for shared memory region: '{name}'. {reason}")


class RegionView:
    """A place in a mapped region. Clients read and write its bytes at the same time."""

    __slots__ = ("_end", "_mapping", "_region", "array")

    def __init__(self, region: Region, mapping: FileMapping, place: RegionSlice) -> None:
        self._region, self._mapping, self._end = region, mapping, place.offset + place.size
        self.array: np.ndarray = mapping.array[place.offset : self._end]
        """The bytes, as uint8. The memory stays mapped as long as the array exists."""

    def check(self) -> None:
        """Raise RequestError if bytes of the place have been missing since the view was created: if the object has
        become smaller, or the system has no memory for it. What was read from them were zeros, and what was written to
        them is lost."""
        self._region.check_view(self._mapping, self._end)
