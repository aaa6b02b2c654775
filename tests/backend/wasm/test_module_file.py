"""A module's file is read completely and within a limit; a concurrent change is at worst an error."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from portalis.backend import Limits, ModuleError, Program
from portalis.backend.triton.config import read_model
from portalis.backend.wasm import module_file
from portalis.backend.wasm.binary import read_module
from portalis.backend.wasm.module_file import read_file
from tests.backend import guests
from tests.backend.big_module import big_module
from tests.parts import ROOT
from tests.running.waiting import PATIENCE_S

ADD = guests.wasm(guests.ADD)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "model.wasm"
    found.write_bytes(ADD)
    return found


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(ModuleError) as caught:
        read()
    return str(caught.value)


def test_what_is_no_regular_file_is_rejected_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    for wrong in (tmp_path, tmp_path / "fifo", tmp_path / "link", Path("/dev/zero")):
        for read in (lambda: read_file(wrong), lambda: read_module(wrong), lambda: Program.load(wrong)):  # noqa: B023
            assert refusal(read) == f"{wrong} is not a regular file"


def test_what_cannot_be_opened_is_reported_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "loop").symlink_to("loop")
    for name, message in (
        ("empty", f"{tmp_path}/empty is empty, not a WebAssembly module"),
        ("none", f"{tmp_path}/none cannot be read: No such file or directory"),
        ("empty/x", f"{tmp_path}/empty/x cannot be read: Not a directory"),
        ("loop", f"{tmp_path}/loop cannot be read: Too many levels of symbolic links"),
    ):
        assert refusal(lambda: read_file(tmp_path / name)) == message  # noqa: B023
    assert refusal(lambda: read_file("a\0b")) == "'a\\x00b' cannot be read: embedded null byte"


def test_a_file_above_the_limit_is_not_read(path: Path) -> None:
    assert read_file(path, len(ADD)) == ADD
    message = f"{path} has {len(ADD)} bytes, more than the limit of {len(ADD) - 1} (raise it)"
    assert refusal(lambda: read_file(path, len(ADD) - 1, "raise it")) == message
    os.truncate(path, 1 << 33)  # a sparse file
    assert "more than the limit of 1073741824" in refusal(lambda: read_module(path))
    assert "raise Limits.max_module_bytes" in refusal(lambda: Program.load(path))
    assert "raise wasm.max_module_bytes" in refusal(lambda: read_model({}, path.parent))


def test_a_configuration_may_raise_the_limit_of_the_files_size(path: Path) -> None:
    low = {"parameters": {"wasm.max_module_bytes": {"string_value": str(len(ADD) - 1)}}}
    assert "has 59 bytes, more than the limit of 58" in refusal(lambda: read_model(low, path.parent))
    low["parameters"]["wasm.max_module_bytes"]["string_value"] = str(len(ADD))
    assert read_model(low, path.parent).interface.entry == "add"


@pytest.mark.parametrize("change", [b"", b"x", ADD + b"\0"])
def test_a_file_that_changes_while_it_is_read_is_an_error(
    path: Path, change: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = module_file.check_size

    def change_it(size: int, name: str, max_bytes: int, advice: str) -> None:
        check(size, name, max_bytes, advice)
        path.write_bytes(change)

    monkeypatch.setattr(module_file, "check_size", change_it)
    assert refusal(lambda: read_module(path)) == f"{path} was changed while it was read: try again when it is complete"


def test_a_file_of_the_same_size_that_is_written_meanwhile_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_file, "check_size", lambda *_: os.utime(path, (1, 1)))
    assert "was changed while it was read" in refusal(lambda: read_file(path))


def test_nothing_that_happens_to_a_file_after_it_was_read_matters(tmp_path: Path) -> None:
    path = tmp_path / "big.wasm"
    path.write_bytes(big_module(3 << 20))
    info, whole = read_module(path), read_module(path)
    os.truncate(path, 100)
    assert sum(map(len, info.bodies())) == sum(map(len, whole.bodies())) > 2 << 20
    assert str(path) not in Path("/proc/self/maps").read_text()


RACE = """
import itertools, sys, threading
from portalis.backend import Program, WasmError
from portalis.backend.wasm.binary import read_module
from portalis.backend.triton.config import read_model
from portalis.inspection import inspect_module
from pathlib import Path

path, seen = Path(sys.argv[1]), set()
print("ready", flush=True)
for turn in itertools.count():
    if turn >= int(sys.argv[2]) and "ModuleError" in seen:
        break
    for read in (
        lambda: sum(map(len, read_module(path).bodies())),
        lambda: read_model({}, path.parent),
        lambda: inspect_module(path).features,
        lambda: Program.load(path, trusted=True, cache=None).close(),
    ):
        try:
            read()
            seen.add("read")
        except WasmError as error:
            seen.add(type(error).__name__)
print(sorted(seen))
"""


def test_a_module_that_is_written_in_place_again_and_again_kills_no_reader(tmp_path: Path) -> None:
    path = tmp_path / "model.wasm"
    data = big_module(1 << 18)
    path.write_bytes(data)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            with path.open("r+b") as file:
                file.truncate(0)
                file.write(data)
            time.sleep(0.002)

    command = [sys.executable, "-c", RACE, str(path), "15"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    writer = threading.Thread(target=write)
    writer.start()
    try:
        output, _ = child.communicate(timeout=PATIENCE_S)
    finally:
        done.set()
        writer.join()
    assert child.returncode == 0  # -7 is SIGBUS
    assert "ModuleError" in output
    assert "Error" not in output.replace("ModuleError", "")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(b"..." + data))[3:]])
def test_bytes_of_any_kind_are_loaded(kind: Callable[[bytes], bytes]) -> None:
    with Program.load(kind(ADD)) as program:
        assert program.run({"a": 1.0, "b": 2.0})["y"] == 3.0
    message = "the module has 59 bytes, more than the limit of 10 (raise Limits.max_module_bytes)"
    assert refusal(lambda: Program.load(kind(ADD), limits=Limits(max_module_bytes=10))) == message
    assert refusal(lambda: Program.load(kind(b""))) == "the module is empty, not a WebAssembly module"


def test_what_wat2wasm_gives_is_loaded_as_it_is() -> None:
    import wasmtime

    with Program.load(wasmtime.wat2wasm(guests.ADD)) as program:
        assert program.run({"a": 1.0, "b": 2.0})["y"] == 3.0
