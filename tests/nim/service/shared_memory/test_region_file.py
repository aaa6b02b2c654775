"""Files of shared memory regions: which keys name one, and what happens when an object becomes smaller."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from portalis.nim.service.request_errors import RequestError
from portalis.nim.service.shared_memory.region_file import RegionFile

from .shared_objects import FOLDER, SharedObject, open_objects, shared_object


@pytest.fixture
def target() -> Iterator[SharedObject]:
    with shared_object(64) as found:
        yield found


@contextlib.contextmanager
def opened(key: str) -> Iterator[RegionFile]:
    file = RegionFile(key)
    try:
        yield file
    finally:
        file.close()


def buffer(size: int) -> memoryview:
    return np.zeros(size, np.uint8).data


@pytest.mark.parametrize("slashes", ["", "/", "///"])
def test_a_key_is_a_name_with_any_number_of_leading_slashes(target: SharedObject, slashes: str) -> None:
    with opened(slashes + target.key.lstrip("/")) as file:
        assert file.size() == 64


@pytest.mark.parametrize(
    "key",
    ["", "/", "//", ".", "/..", "/../etc/passwd", "/a/../b", "a/b", "/a\0b", "/no-such-object", "k" * 256,
     "/" * 10_000_000, "/" * 600 + "a", "\ud800", "/portalis-\udcff"],
)  # fmt: skip
def test_other_keys_open_nothing(key: str) -> None:
    with pytest.raises(RequestError, match="Unable to open shared memory region") as caught:
        RegionFile(key)
    assert caught.value.status == 500 and len(caught.value.message) < 1000


def test_a_link_is_not_followed(target: SharedObject, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    target.path.unlink()
    target.path.symlink_to(secret)
    with pytest.raises(RequestError, match="Unable to open shared memory region"):
        RegionFile(target.key)


@pytest.mark.parametrize("create", [os.mkfifo, os.mkdir])
def test_only_a_regular_file_is_opened(target: SharedObject, create: object) -> None:
    target.path.unlink()
    create(target.path)  # type: ignore[operator]
    try:
        with pytest.raises(RequestError, match="Unable to open shared memory region"):
            RegionFile(target.key)
    finally:
        target.path.rmdir() if target.path.is_dir() else target.path.unlink()
    assert open_objects() == []


def test_data_are_read_and_written_at_their_positions(target: SharedObject) -> None:
    target.write(b"abcdef", 8)
    with opened(target.key) as file:
        data = buffer(3)
        assert file.read_into(data, 10) and bytes(data) == b"cde"
        assert file.write(b"xyz", 61)
    assert target.read() == bytes(8) + b"abcdef" + bytes(47) + b"xyz"


@pytest.mark.parametrize("position", [0, 57, 64, 1 << 40])
def test_nothing_is_read_or_written_behind_the_end(target: SharedObject, position: int) -> None:
    with opened(target.key) as file:
        size = 65 if position == 0 else 8
        assert not file.read_into(buffer(size), position)
        assert not file.write(bytes(size), position)
    assert target.path.stat().st_size == 64


def test_an_object_that_becomes_smaller_is_read_and_written_up_to_its_new_end(target: SharedObject) -> None:
    with opened(target.key) as file:
        target.resize(8)
        assert file.read_into(buffer(8), 0) and file.write(bytes(8), 0)
        assert not file.read_into(buffer(9), 0) and not file.write(bytes(9), 0)
        target.resize(0)
        assert not file.read_into(buffer(1), 0) and not file.write(bytes(1), 0)
        target.path.unlink()
        assert not file.read_into(buffer(1), 0)
    assert not (FOLDER / target.path.name).exists()


def test_no_data_are_read_and_written_anywhere_without_an_error(target: SharedObject) -> None:
    with opened(target.key) as file:
        assert file.read_into(buffer(0), 3) and file.write(b"", 3)
