"""A registered shared memory region: the range of a shared memory object that requests can name."""

from __future__ import annotations

from dataclasses import dataclass

from ..codec.parsed_request import RegionSlice
from ..request_errors import RequestError, input_error
from .region_file import RegionFile


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
        if not self._file.read_into(buffer, self.status.offset + place.offset):
            raise self._outside("The shared memory object has become smaller")

    def write(self, data: bytes | memoryview, place: RegionSlice) -> None:
        """Write `data`, which fits into `place`. Raises RequestError if the object has become smaller, or the system
        has no memory for the data."""
        try:
            written = self._file.write(data, self.status.offset + place.offset)
        except OSError as error:
            text = f"cannot write to shared memory region '{self.status.name}': {error.strerror}"
            raise RequestError(500, "SharedMemoryError", text) from None
        if not written:
            raise self._outside("The shared memory object has become smaller")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _outside(self, reason: str) -> RequestError:
        name = self.status.name
        return input_error(f"Invalid offset + byte size for shared memory region: '{name}'. {reason}")
