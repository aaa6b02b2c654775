"""The bytes that are looked at are those of one regular file, whatever others do to it meanwhile."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from portalis.backend import ModuleError
from portalis.inspection import inspect, source
from portalis.inspection.source import opened, sha256
from tests.backend import guests
from tests.running.waiting import PATIENCE_S


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small module."""
    found = tmp_path / "module.wasm"
    found.write_bytes(guests.wasm(guests.ADD))
    return found


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are mapped as large ones are."""
    monkeypatch.setattr(source, "READ_BYTES", 0)


@pytest.fixture
def no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without leases."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(fcntl, "fcntl", refuse)


def refusal(path: Path) -> str:
    """The message of the error that ends an inspection."""
    with pytest.raises(ModuleError) as caught:
        inspect(path)
    return str(caught.value)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    for wrong in (tmp_path, tmp_path / "fifo", tmp_path / "link", Path("/dev/zero")):
        assert refusal(wrong) == f"{wrong} is not a regular file"


def test_what_cannot_be_opened_is_told_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert refusal(tmp_path / "empty") == f"{tmp_path}/empty is empty, not a WebAssembly module"
    assert refusal(tmp_path / "none") == f"{tmp_path}/none cannot be read: No such file or directory"
    assert refusal(tmp_path / "empty" / "x") == f"{tmp_path}/empty/x cannot be read: Not a directory"
    assert refusal(Path("a\0b")) == "'a\\x00b' cannot be read: embedded null byte"
    (tmp_path / "loop").symlink_to("loop")
    assert refusal(tmp_path / "loop").startswith(f"{tmp_path}/loop cannot be read: Too many levels")


def test_a_mapped_file_is_told_as_one_that_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = inspect(path)
    monkeypatch.setattr(source, "READ_BYTES", 0)
    assert inspect(path) == read
    assert inspect(path).to_json() == read.to_json()


def test_a_digest_is_that_of_all_chunks() -> None:
    for size in (0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20):
        data = os.urandom(size)
        assert sha256(memoryview(data)) == hashlib.sha256(data).hexdigest()


def test_nothing_that_happens_to_a_file_that_was_read_matters(path: Path) -> None:
    data = path.read_bytes()
    with opened(path) as module:
        os.truncate(path, 0)
        assert module == data


@pytest.mark.parametrize("change", [b"x", b""])
def test_a_file_that_changes_while_it_is_read_is_an_error(
    path: Path, change: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(state: os.stat_result, path: Path) -> None:
        path.write_bytes(change)

    monkeypatch.setattr(source, "_check_kind", check)
    for limit in (source.READ_BYTES, 0):
        monkeypatch.setattr(source, "READ_BYTES", limit)
        path.write_bytes(guests.wasm(guests.ADD))
        if limit == 0 and change:
            continue  # mapping succeeds, in the last bytes of the page
        assert refusal(path) == f"{path} was changed while it was read: try again when it is complete"


@pytest.mark.usefixtures("mapped")
def test_who_cuts_a_mapped_file_waits_until_it_has_been_looked_at(path: Path) -> None:
    data = path.read_bytes()
    with path.open("rb") as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            pytest.skip(f"there are no leases on this file system: {error}")
    cut = [sys.executable, "-c", "import os, sys; print(flush=True); os.truncate(sys.argv[1], 0)", str(path)]
    with opened(path) as module:
        child = subprocess.Popen(cut, stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=0.5)
        assert module == data
    assert child.wait(timeout=PATIENCE_S) == 0
    child.stdout.close()
    assert path.stat().st_size == 0


@pytest.mark.usefixtures("mapped")
def test_a_file_that_somebody_has_open_for_writing_is_inspected_without_a_lease(path: Path) -> None:
    with path.open("r+b"):
        assert inspect(path).invalid is None


@pytest.mark.usefixtures("mapped", "no_lease")
def test_a_change_of_a_mapped_file_is_an_error_where_there_is_no_lease(path: Path) -> None:
    def change() -> None:
        with path.open("r+b") as file:
            file.write(b"\0bad")
        os.utime(path, (1, 1))  # a clock of any precision sees it

    def change_and_fail() -> None:
        os.utime(path, (2, 2))
        raise ModuleError("an error because of the change")

    for happens in (change, change_and_fail):
        with pytest.raises(ModuleError) as caught, opened(path):
            happens()
        assert str(caught.value) == f"{path} was changed while it was read: try again when it is complete"


@pytest.mark.usefixtures("mapped")
def test_an_error_of_the_module_is_told_as_it_is(path: Path) -> None:
    with pytest.raises(ModuleError, match="its own"), opened(path):
        raise ModuleError("its own")
    path.write_bytes(b"hello there")
    assert "it is text that begins with 'hello there'" in refusal(path)


@pytest.mark.usefixtures("mapped")
def test_no_descriptor_and_no_mapping_is_left(path: Path) -> None:
    found = inspect(path)
    assert found.features == ()
    opened_files = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert str(path) not in opened_files
    assert str(path) not in Path("/proc/self/maps").read_text()
