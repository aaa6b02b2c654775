"""A library that does not fit, ours or wasmtime's: guests run in Python, and one line of the log says why."""

from __future__ import annotations

import pytest

from tests.backend.native.cores import child, core


@pytest.fixture(scope="module", autouse=True)
def _there_is_a_core() -> None:
    core()


# Loads two programs with the library at `path` and prints who runs them, what was logged, and an answer.
TRY = """
import ctypes.util, logging, pathlib, platform, tempfile
from portalis.backend.executor import core_library
from portalis.backend.executor import executor_factory as loaded
from tests.backend import guests
lines = []
class Lines(logging.Handler):
    def emit(self, record): lines.append(record.getMessage())
logging.getLogger().addHandler(Lines())
OTHER = f"{ctypes.util.find_library('m')}"
def instead(data):  # another library in the place of ours
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "executor").mkdir()
    (folder / "lib" / platform.machine()).mkdir(parents=True)
    (folder / "lib" / platform.machine() / "libwasm_core.so").write_bytes(data)
    loaded.__file__ = str(folder / "executor" / "loaded.py")
def go():
    programs = [Program.load(guests.echo(batch=8)) for _ in range(2)]
    print(*{type(program._runner).__name__ for program in programs}, answer(programs[0], 2) == [2] * 4, len(lines))
    print(*lines)
"""


def test_another_layout_of_wasmtimes_structs_falls_back_to_python() -> None:
    message = child(TRY + "core_library.struct_sizes = lambda: 1\ngo()")
    first, second = message.splitlines()
    assert first == "PythonExecutor True 1"
    assert second.startswith("guests run in Python, because ")
    assert second.endswith("libwasm_core.so cannot be used: it was built for a different version of wasmtime")


def test_a_wasmtime_without_the_functions_falls_back_to_python() -> None:
    message = child(TRY + "core_library.Core.__init__.__defaults__ = (OTHER,)\ngo()")
    first, second = message.splitlines()
    assert first == "PythonExecutor True 1"
    assert second.endswith("has no wasm_config_new: a different version of wasmtime is needed")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("b'no library at all' * 100", "invalid ELF header"),
        ("b''", "file too short"),
        ("pathlib.Path(core_library.ffi.dll._name).read_bytes()", "it does not export core_load"),
    ],
    ids=["text", "empty", "another"],
)
def test_a_library_that_is_not_ours_falls_back_to_python(data: str, why: str) -> None:
    message = child(TRY + f"instead({data})\ngo()")
    first, second = message.splitlines()
    assert first == "PythonExecutor True 1"
    assert second.startswith("guests run in Python, because ")
    assert "libwasm_core.so cannot be used: " in second
    assert why in second
