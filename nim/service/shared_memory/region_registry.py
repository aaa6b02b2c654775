"""The shared memory regions that clients have registered."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator

from ..codec.parsed_request import RegionSlice
from ..request_errors import RequestError, input_error, not_found, unavailable
from .region import Region, RegionStatus

ALREADY_EXISTS = "AlreadyExistsError"
"""The kind of the error for a name that is in use: status 400 over HTTP, ALREADY_EXISTS over gRPC."""
MAX_NAME_CHARACTERS = 1024
_FILES_SHARE, _MIN_REGIONS = 0.05, 64  # of the open files that the process may have; connections use 90 %


def allowed_regions(requested: int) -> int:
    """`requested`, or as many regions as the limit of open files allows: each has one."""
    if sys.platform == "win32":
        return requested
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return requested
    return min(requested, max(_MIN_REGIONS, int(files * _FILES_SHARE)))


def regions_in_use(names: Iterable[str]) -> RequestError:
    """The error of a request to unregister all regions, for those that requests use."""
    text = "".join(f"{name} ," for name in names)
    return RequestError(
        500, "SharedMemoryError", f"Failed to unregister the following system shared memory regions: {text}"
    )


class RegionRegistry:
    """At most `max_regions` regions by name. Any thread can use it."""

    def __init__(self, max_regions: int) -> None:
        self._max_regions = max_regions
        self._regions: dict[str, Region] = {}
        self._lock = threading.Lock()
        self._closed = False

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Register `byte_size` bytes from `offset` on of the shared memory object `key` as region `name`.

        Raises RequestError: 400 if the name is in use, or the object does not contain the region, 500 if the object
        cannot be opened, 503 if there are too many regions.
        """
        failed = f"failed to register shared memory region '{name[:128]}'"
        with self._lock:
            if name in self._regions:
                raise RequestError(400, ALREADY_EXISTS, f"shared memory region '{name}' already in manager")
            if len(name) > MAX_NAME_CHARACTERS:
                raise input_error(f"{failed}: invalid args. A name has at most {MAX_NAME_CHARACTERS} characters")
            if self._closed:
                raise unavailable(f"{failed}: the service is shutting down")
            if len(self._regions) >= self._max_regions:
                text = f"the service has {len(self._regions)} regions, its limit (max_shared_memory_regions)"
                raise unavailable(f"{failed}: {text}; unregister others")
            self._regions[name] = Region(RegionStatus(name, key, offset, byte_size))

    def unregister(self, name: str) -> None:
        """Close the region `name`, if it exists. Raises RequestError with status 500 if a request uses it."""
        with self._lock:
            if not self._remove(name):
                text = f"Cannot unregister shared memory region '{name}', it is currently in use."
                raise RequestError(500, "SharedMemoryError", text)

    def unregister_all(self) -> None:
        """Close all regions. Raises RequestError with status 500 that names those that requests use."""
        with self._lock:
            used = [name for name in sorted(self._regions) if not self._remove(name)]
        if used:
            raise regions_in_use(used)

    def status(self, name: str = "") -> list[RegionStatus]:
        """The region `name`, or all regions, sorted by name. Raises RequestError with status 404."""
        with self._lock:
            if not name:
                return [self._regions[each].status for each in sorted(self._regions)]
            if name not in self._regions:
                raise not_found(f"Unable to find system shared memory region: '{name[:MAX_NAME_CHARACTERS]}'")
            return [self._regions[name].status]

    @contextlib.contextmanager
    def use(self, places: Iterable[RegionSlice]) -> Iterator[dict[str, Region]]:
        """The regions of `places` by name, which cannot be unregistered within the ``with`` block. Raises RequestError
        if a region does not exist or a place is outside it."""
        regions: dict[str, Region] = {}
        try:
            with self._lock:
                for place in places:
                    region = self._regions.get(place.region)
                    if region is None:
                        name = place.region[:MAX_NAME_CHARACTERS]
                        raise not_found(f"Unable to find shared memory region: '{name}'")
                    region.check(place)
                    if place.region not in regions:
                        region.users += 1
                        regions[place.region] = region
            yield regions
        finally:
            with self._lock:
                for region in regions.values():
                    region.users -= 1
                    if self._closed and not region.users:
                        region.close()

    def close(self) -> None:
        """Close all regions, and refuse new ones. A region that a request uses is closed after it."""
        with self._lock:
            self._closed = True
            for region in self._regions.values():
                if not region.users:
                    region.close()
            self._regions.clear()

    def _remove(self, name: str) -> bool:
        """Close the region, if it exists. Returns False if a request uses it."""
        region = self._regions.get(name)
        if region is not None:
            if region.users:
                return False
            region.close()
            del self._regions[name]
        return True
