"""An incompatible native library is not called: the Python executor runs, and one log line gives the reason."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from wasmtime import _ffi as ffi

from portalis.backend import Program
from portalis.backend.constants import WASMTIME_REQUIREMENT
from portalis.backend.executor import core_library
from portalis.backend.executor import executor_factory as loaded
from portalis.backend.executor.core_executor import CoreExecutor
from portalis.backend.executor.python_executor import PythonExecutor
from tests.backend import guests
from tests.layout.tree import pyproject


@pytest.fixture(autouse=True)
def _looked_for_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("PORTALIS_EXECUTOR", raising=False)
    loaded.native_core.cache_clear()
    yield
    loaded.native_core.cache_clear()


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that replaces the island's libraries; returns the path of the core library in it."""
    monkeypatch.setattr(loaded, "__file__", str(tmp_path / "executor" / "loaded.py"))
    library = tmp_path / "lib" / platform.machine() / "libwasm_core.so"
    library.parent.mkdir(parents=True)
    return library


def runs() -> type:
    """The type of the executor that runs a guest."""
    wasm = guests.when_asked("unreachable")
    with Program.load(wasm) as program:
        np.testing.assert_array_equal(program.run({"x": np.zeros((1, 1), np.float32)})["y"], [[0]])
        return type(program._runner)


def test_the_supported_version_is_the_required_version() -> None:
    wanted = WASMTIME_REQUIREMENT
    assert wanted in pyproject()["project"]["dependencies"]


def test_a_compatible_library_runs_guests(caplog: pytest.LogCaptureFixture) -> None:
    assert runs() is CoreExecutor
    assert caplog.messages == []


@pytest.mark.parametrize("version", ["49.0.3", "51.0.0", "5.0.1"])
def test_a_different_version_of_wasmtime_is_not_called(
    version: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    assert runs() is PythonExecutor
    assert runs() is PythonExecutor
    (message,) = caplog.messages
    assert "guests run in Python, because " in message
    assert (
        f"wasmtime {version} is installed, and the native executor was built for 50 (pip install 'wasmtime>=50,<51')"
        in message
    )
    assert caplog.records[0].levelno == logging.WARNING


def test_a_wasmtime_without_metadata_is_checked_by_its_structs(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert runs() is CoreExecutor


def test_a_library_with_different_structs_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(core_library, "struct_sizes", lambda: 1)
    assert runs() is PythonExecutor
    (message,) = caplog.messages
    assert "it was built for a different version of wasmtime" in message


@pytest.mark.parametrize("content", [b"", b"no library", b"\x7fELF" + bytes(60)], ids=["empty", "text", "zeros"])
def test_a_damaged_library_is_not_used(content: bytes, moved: Path, caplog: pytest.LogCaptureFixture) -> None:
    moved.write_bytes(content)
    assert runs() is PythonExecutor
    assert [str(moved) in message for message in caplog.messages] == [True]


def test_a_library_for_a_different_machine_is_not_used(moved: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = {"x86_64": "aarch64", "aarch64": "x86_64"}[platform.machine()]
    shutil.copy(Path(core_library.__file__).parents[1] / "lib" / other / "libwasm_core.so", moved)
    assert runs() is PythonExecutor
    assert len(caplog.messages) == 1


def test_an_unrelated_library_is_not_used(moved: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(ffi.dll._name, moved)
    assert runs() is PythonExecutor
    assert len(caplog.messages) == 1


def test_without_a_library_the_python_executor_runs_silently(
    moved: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert not moved.exists()
    assert runs() is PythonExecutor
    loaded.native_core.cache_clear()
    monkeypatch.setattr(sys, "platform", "win32")
    assert runs() is PythonExecutor
    assert caplog.messages == []
