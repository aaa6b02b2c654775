"""The registry of shared memory regions: names, bounds, use, limits and the end of the service."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.nim.service.codec.parsed_request import RegionSlice
from portalis.nim.service.request_errors import RequestError
from portalis.nim.service.shared_memory import RegionRegistry, RegionStatus
from portalis.nim.service.shared_memory.region_registry import allowed_regions

from .shared_objects import SharedObject, open_objects, shared_object


@pytest.fixture
def target() -> Iterator[SharedObject]:
    with shared_object(64) as found:
        yield found


@pytest.fixture
def regions() -> Iterator[RegionRegistry]:
    registry = RegionRegistry(8)
    yield registry
    registry.close()
    assert open_objects() == []


def place(offset: int = 0, size: int = 8, region: str = "r") -> RegionSlice:
    return RegionSlice(region, offset, size)


def status_of(error: pytest.ExceptionInfo[RequestError]) -> int:
    return error.value.status


def test_regions_are_listed_by_name(regions: RegionRegistry, target: SharedObject) -> None:
    for name in ("b", "a", ""):
        regions.register(name, target.key, 4, 8)
    assert [each.name for each in regions.status()] == ["", "a", "b"]
    assert regions.status("a") == [RegionStatus("a", target.key, 4, 8)]
    with pytest.raises(RequestError, match="Unable to find system shared memory region: 'c'") as caught:
        regions.status("c")
    assert status_of(caught) == 404


def test_a_name_has_one_region_until_it_is_unregistered(regions: RegionRegistry, target: SharedObject) -> None:
    regions.register("r", target.key, 0, 8)
    with shared_object(16) as other, pytest.raises(RequestError, match="'r' already in manager") as caught:
        regions.register("r", other.key, 0, 16)
    assert status_of(caught) == 400
    assert regions.status("r") == [RegionStatus("r", target.key, 0, 8)]
    regions.unregister("r")
    regions.unregister("r")
    with shared_object(16) as other:
        regions.register("r", other.key, 0, 16)
        assert regions.status("r")[0].byte_size == 16


@pytest.mark.parametrize(
    ("offset", "size"),
    [
        (0, 65),
        (64, 1),
        (60, 5),
        (0, 0),
        (1 << 64, 8),
        ((1 << 64) - 8, 16),
        (0, 1 << 64),
        (8, (1 << 64) - 8),
        (1 << 63, 1),
    ],
)
def test_a_region_is_within_its_object(regions: RegionRegistry, target: SharedObject, offset: int, size: int) -> None:
    with pytest.raises(RequestError, match="failed to register shared memory region 'r'") as caught:
        regions.register("r", target.key, offset, size)
    assert status_of(caught) == 400 and regions.status() == [] and open_objects() == []


@given(
    offset=st.integers(-(1 << 65), 1 << 65) | st.integers(-2, 20),
    size=st.integers(-(1 << 65), 1 << 65) | st.integers(-2, 20),
)
def test_a_place_is_used_only_within_its_region(offset: int, size: int) -> None:
    with shared_object(64) as target:
        registry = RegionRegistry(1)
        registry.register("r", target.key, 32, 16)
        inside = 0 <= offset < 16 and size >= 0 and 0 < offset + size <= 16
        if inside:
            with registry.use([place(offset, size)]) as used:
                used["r"].write(b"x" * size, place(offset, size))
            assert target.read() == bytes(32 + offset) + b"x" * size + bytes(32 - offset - size)
        else:
            with pytest.raises(RequestError, match="Invalid offset") as caught, registry.use([place(offset, size)]):
                raise AssertionError("it is outside")
            assert status_of(caught) == 400
        registry.close()


def test_positions_are_relative_to_the_region(regions: RegionRegistry, target: SharedObject) -> None:
    target.write(bytes(range(64)))
    regions.register("r", target.key, 5, 20)
    data = np.zeros(3, np.uint8)
    with regions.use([place(2, 3)]) as used:
        used["r"].read_into(data.data, place(2, 3))
    assert data.tolist() == [7, 8, 9]


def test_a_region_in_use_stays_registered(regions: RegionRegistry, target: SharedObject) -> None:
    for name in ("r", "s", "t"):
        regions.register(name, target.key, 0, 8)
    with regions.use([place(), place(region="t"), place(4, 4)]):
        with regions.use([place()]):
            pass
        with pytest.raises(RequestError, match="Cannot unregister shared memory region 'r', it is currently in use"):
            regions.unregister("r")
        with pytest.raises(RequestError, match="following system shared memory regions: r ,t ,") as caught:
            regions.unregister_all()
        assert status_of(caught) == 500
        assert [each.name for each in regions.status()] == ["r", "t"] and len(open_objects()) == 2
    regions.unregister_all()
    assert regions.status() == [] and open_objects() == []


def test_a_failed_use_leaves_no_region_in_use(regions: RegionRegistry, target: SharedObject) -> None:
    regions.register("r", target.key, 0, 8)
    for second in (place(region="none"), place(8)):
        with pytest.raises(RequestError), regions.use([place(), second]):
            raise AssertionError("the second place is invalid")
    with pytest.raises(ZeroDivisionError), regions.use([place()]):
        raise ZeroDivisionError
    regions.unregister("r")
    assert open_objects() == []


def test_registrations_are_limited(regions: RegionRegistry, target: SharedObject) -> None:
    refused = 0
    for number in range(100_000):
        try:
            regions.register(f"r{number}", target.key, 0, 8)
        except RequestError as error:
            refused += error.status == 503 and "max_shared_memory_regions" in error.message
    assert refused == 100_000 - 8 and len(open_objects()) == 8
    regions.unregister("r3")
    regions.register("another", target.key, 0, 8)
    regions.unregister_all()
    with pytest.raises(RequestError, match="at most 1024 characters") as caught:
        regions.register("x" * 10_000_000, target.key, 0, 8)
    assert status_of(caught) == 400 and len(caught.value.message) < 1000


def test_a_limit_of_0_turns_shared_memory_off(target: SharedObject) -> None:
    with pytest.raises(RequestError, match="max_shared_memory_regions"):
        RegionRegistry(0).register("r", target.key, 0, 8)


def test_the_limit_of_open_files_limits_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    for files, allowed in ((1024, 64), (20_000, 1000), (1 << 20, 1024), (resource.RLIM_INFINITY, 1024)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert allowed_regions(1024) == allowed and allowed_regions(3) == 3
    monkeypatch.setattr(sys, "platform", "win32")
    assert allowed_regions(1024) == 1024


def test_a_closed_registry_has_no_file_and_opens_none(target: SharedObject) -> None:
    registry = RegionRegistry(8)
    for name in ("r", "s"):
        registry.register(name, target.key, 0, 8)
    with registry.use([place()]) as used:
        registry.close()
        assert len(open_objects()) == 1
        used["r"].write(b"late", place())
    assert open_objects() == [] and target.read()[:4] == b"late"
    with pytest.raises(RequestError, match="shutting down") as caught:
        registry.register("t", target.key, 0, 8)
    assert status_of(caught) == 503


def test_an_object_that_became_smaller_is_an_error_of_the_request(
    regions: RegionRegistry, target: SharedObject
) -> None:
    regions.register("r", target.key, 0, 64)
    target.resize(4)
    with regions.use([place()]) as used:
        region, data = used["r"], memoryview(bytearray(8))
        accesses: list[Callable[[], None]] = [
            lambda: region.read_into(data, place()),
            lambda: region.write(bytes(8), place()),
        ]
        for access in accesses:
            with pytest.raises(RequestError, match="Invalid offset .* byte size .*has become smaller") as caught:
                access()
            assert status_of(caught) == 400
    assert target.read() == bytes(4)


def test_a_system_without_memory_is_an_error_of_the_request(
    regions: RegionRegistry, target: SharedObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    regions.register("r", target.key, 0, 8)
    monkeypatch.setattr(os, "pwritev", full)  # a file system cannot be filled here
    with regions.use([place()]) as used, pytest.raises(RequestError, match="'r': No space left on device") as caught:
        used["r"].write(bytes(8), place())
    assert status_of(caught) == 500
