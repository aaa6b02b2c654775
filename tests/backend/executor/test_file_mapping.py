"""Mapped files that become smaller: accesses behind the end read zeros, and the mapping reports them."""

from __future__ import annotations

import gc
import mmap
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from portalis.backend.executor.executor_factory import native_core
from portalis.backend.executor.file_mapping import FileMapping, map_file

PAGE = mmap.PAGESIZE
pytestmark = pytest.mark.skipif(native_core() is None, reason="this system has no native executor")


@pytest.fixture
def file() -> Iterator[int]:
    """An open file of 8 pages, each filled with its number + 1. It is in a file system without a disk, as shared
    memory objects are."""
    descriptor = os.memfd_create("mapped")
    os.pwrite(descriptor, b"".join(bytes([number + 1]) * PAGE for number in range(8)), 0)
    yield descriptor
    os.close(descriptor)


def mapped(file: int, offset: int = 0, size: int = 8 * PAGE) -> FileMapping:
    mapping = map_file(file, offset, size)
    assert mapping is not None
    return mapping


def mappings() -> int:
    """The number of mappings of the test's file."""
    return Path("/proc/self/maps").read_text().count("/memfd:mapped")


@pytest.mark.parametrize(("offset", "size"), [(0, 8 * PAGE), (1, 1), (PAGE - 1, PAGE + 2), (3 * PAGE + 5, 100)])
def test_a_range_of_the_file_is_mapped(file: int, offset: int, size: int) -> None:
    mapping = mapped(file, offset, size)
    assert mapping.array.tobytes() == os.pread(file, size, offset) and mapping.intact_bytes == size
    mapping.array[-1] = 99
    assert os.pread(file, 1, offset + size - 1) == b"\x63"
    os.pwrite(file, b"\x62", offset)
    assert mapping.array[0] == 98


@pytest.mark.parametrize("pages", [0, 1, 5])
def test_bytes_behind_the_end_are_zeros_when_they_are_accessed(file: int, pages: int) -> None:
    mapping = mapped(file)
    os.ftruncate(file, pages * PAGE)
    assert mapping.intact_bytes == 8 * PAGE
    copied = mapping.array.copy()
    assert mapping.intact_bytes == pages * PAGE
    assert [int(n) for n in copied[::PAGE]] == [*range(1, pages + 1), *[0] * (8 - pages)]
    mapping.array[:] = 7  # also succeeds
    assert os.fstat(file).st_size == pages * PAGE and os.pread(file, 8 * PAGE, 0) == b"\7" * pages * PAGE


def test_bytes_that_were_replaced_do_not_come_back(file: int) -> None:
    mapping = mapped(file)
    os.ftruncate(file, 2 * PAGE)
    assert mapping.array[4 * PAGE] == 0
    os.ftruncate(file, 8 * PAGE)
    os.pwrite(file, b"\1" * 8 * PAGE, 0)
    assert [int(n) for n in mapping.array[::PAGE]] == [1, 1, 1, 1, 0, 0, 0, 0] and mapping.intact_bytes == 4 * PAGE
    assert int(mapped(file).array.sum()) == 8 * PAGE


def test_only_the_mapping_that_was_accessed_changes(file: int) -> None:
    mapping, other = mapped(file), mapped(file)
    os.ftruncate(file, PAGE)
    assert int(other.array[0]) == 1 and int(mapping.array[PAGE]) == 0
    assert (mapping.intact_bytes, other.intact_bytes) == (PAGE, 8 * PAGE)
    assert int(other.array.sum()) == PAGE and other.intact_bytes == PAGE


@pytest.mark.parametrize(("offset", "intact"), [(PAGE + 7, PAGE - 7), (2 * PAGE, 0), (5 * PAGE + 1, 0)])
def test_the_bytes_of_the_file_are_counted_from_the_start_of_the_range(file: int, offset: int, intact: int) -> None:
    mapping = mapped(file, offset, 2 * PAGE)
    os.ftruncate(file, 2 * PAGE)
    assert mapping.array[:intact].all() and mapping.intact_bytes == 2 * PAGE
    assert not mapping.array[intact:].any() and mapping.intact_bytes == intact


def test_arrays_keep_the_memory_mapped(file: int) -> None:
    mapping = mapped(file)
    view = mapping.array[PAGE : 2 * PAGE].reshape(2, -1)
    del mapping
    gc.collect()
    assert mappings() == 1 and int(view[0, 0]) == 2
    os.ftruncate(file, 0)
    assert not view.any()
    del view
    gc.collect()
    assert mappings() == 0


def test_what_cannot_be_mapped_is_none(file: int, tmp_path: Path) -> None:
    read_only = os.open("/proc/self/exe", os.O_RDONLY)
    try:
        assert map_file(read_only, 0, PAGE) is None
    finally:
        os.close(read_only)
    assert map_file(file, 0, 0) is None
    assert map_file(file, 0, 1 << 62) is None and map_file(file, 1 << 62, 1) is None
    assert map_file(file, 0, 1 << 56) is None  # more than the address space
    assert map_file(-1, 0, PAGE) is None


def test_the_number_of_mappings_is_limited(file: int) -> None:
    found = [map_file(file, 0, PAGE) for _ in range(4200)]
    assert found.count(None) >= 104
    assert all(int(mapping.array[0]) == 1 for mapping in found if mapping is not None)
    del found
    gc.collect()
    assert mapped(file).array[0] == 1


def test_files_become_smaller_while_threads_copy_them() -> None:
    stop, failures = threading.Event(), []

    def copy(number: int) -> None:
        descriptor = os.memfd_create(f"copied-{number}")
        data = np.full(64 * PAGE, number + 1, np.uint8)
        try:
            while not stop.is_set():
                os.pwrite(descriptor, data.tobytes(), 0)
                mapping = mapped(descriptor, 0, 64 * PAGE)
                cutting = threading.Thread(target=os.ftruncate, args=(descriptor, (number + 1) * PAGE))
                cutting.start()
                for _ in range(20):
                    copied = mapping.array.copy()
                    whole = bool((copied == number + 1).all())
                    if not whole and (
                        mapping.intact_bytes == 64 * PAGE or not set(np.unique(copied)) <= {0, number + 1}
                    ):
                        failures.append(number)
                    mapping.array[:] = data
                cutting.join()
                if not mapping.array.copy()[0] or mapping.intact_bytes > (number + 1) * PAGE:
                    failures.append(number)
        finally:
            os.close(descriptor)

    threads = [threading.Thread(target=copy, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    stop.wait(1)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


CHILD = """
import faulthandler, mmap, os, sys
from portalis.backend.executor.file_mapping import map_file
if sys.argv[1] == "handler":
    faulthandler.enable()
file = os.memfd_create("mapped")
os.ftruncate(file, mmap.PAGESIZE)
ours, others = map_file(file, 0, mmap.PAGESIZE), mmap.mmap(file, mmap.PAGESIZE)
os.ftruncate(file, 0)
assert ours.array[0] == 0 and ours.intact_bytes == 0
print("survived", flush=True)
others[0]
"""


@pytest.mark.parametrize("handler", ["none", "handler"])
def test_other_faults_have_the_effect_that_they_had(handler: str) -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, handler], capture_output=True, text=True, check=False)
    assert done.stdout == "survived\n" and done.returncode == -signal.SIGBUS
    assert ("Fatal Python error: Bus error" in done.stderr) == (handler == "handler")
