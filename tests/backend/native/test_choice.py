"""Selection of the engine for a model in a real Triton, and the fallback if the native one cannot run it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from portalis.errors import PortalisError
from portalis.triton_client import load_model
from portalis.tritonserver import TritonServer
from portalis.wasm_backend import install_backend
from tests.backend import guests
from tests.backend.native.started import children, planners
from tests.backend.triton.conftest import Server
from tests.backend.triton.models import BARE, parameters, write
from tests.running import waiting

pytestmark = pytest.mark.triton

ECHO = guests.when_asked("unreachable")
COMMAND = guests.wasm(guests.CAT)
# A planner that something is wrong with: what, is in the file `wrong` beside it.
PLANNER = """
import importlib.metadata, os, runpy, sys
from pathlib import Path
script = Path(sys.argv[1])
sys.path.insert(0, str(script.parent))
wrong = Path(__file__).with_name("wrong").read_text()
if wrong == "crash":
    os._exit(3)
if wrong == "wasmtime":
    real = importlib.metadata.version
    importlib.metadata.version = lambda name: "49.0.0" if name == "wasmtime" else real(name)
if wrong == "structs":
    import portalis_backend.executor.core_library as core
    core.struct_sizes = lambda: 1
if wrong == "plan":
    import portalis_backend.plan.layout as layout
    pack = layout.pack_plan
    layout.pack_plan = lambda *given, **more: pack(*given, **more).replace(b"PORTPLAN", b"PORTPLAY")
runpy.run_path(str(script), run_name="__main__")
"""


class Choosing(Server):
    """A server that loads models when it is asked to."""

    def __init__(self, triton: TritonServer, repository: Path, folder: Path) -> None:
        super().__init__(triton)
        self.repository, self.folder = repository, folder

    def load(self, name: str, settings: Mapping[str, str], wasm: bytes = ECHO) -> str:
        """Load a model. Returns the line of the log that says what runs it."""
        write(self.repository, name, wasm, BARE + parameters({f"wasm.{key}": text for key, text in settings.items()}))
        load_model(self.triton.grpc_url, name, timeout_s=waiting.PATIENCE_S)
        if wasm == ECHO:
            assert self.infer(name, x=np.full((1, 1), 3, np.float32))["y"] == 3
        line: str
        (line,) = re.findall(rf"wasm model {name} version 1: ((?:native, loaded|runs in ).*)", self.triton.log())
        return line

    def refusal(self, name: str, settings: Mapping[str, str], wasm: bytes = ECHO) -> str:
        """The reason why a model is not loaded; afterwards another model is served."""
        with pytest.raises(PortalisError) as caught:
            self.load(name, settings, wasm)
        assert self.infer("good", x=np.full((1, 1), 2, np.float32))["y"] == 2
        return str(caught.value)

    @contextlib.contextmanager
    def broken(self, wrong: str) -> Iterator[None]:
        """With a planner that `wrong` is wrong with."""
        for each in (wrong, ""):
            (self.folder / "wrong").write_text(each)
            for pid in planners(self.triton.pid):
                os.kill(pid, signal.SIGKILL)
            if each:
                yield


@contextlib.contextmanager
def serving(folder: Path, backends: Path, machine: str | None) -> Iterator[Choosing]:
    shutil.copytree(backends / "python", folder / "backends" / "python", symlinks=True)
    install_backend(folder / "backends", machine=machine)
    (folder / "models").mkdir()
    (folder / "planner.py").write_text(PLANNER)
    (folder / "wrong").write_text("")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nshift\nexec "{sys.executable}" -B "{folder / "planner.py"}" "$@"\n')
    python.chmod(0o755)
    with TritonServer(
        folder / "models",
        backend_directory=folder / "backends",
        model_control="explicit",
        environment={"PORTALIS_PYTHON": str(python)},
    ) as triton:
        yield Choosing(triton, folder / "models", folder)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory, wasm_backends: Path) -> Iterator[Choosing]:
    with serving(tmp_path_factory.mktemp("native"), wasm_backends, None) as server:
        server.load("good", {})
        yield server


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory, wasm_backends: Path) -> Iterator[Choosing]:
    """A server whose backend was laid out without the library."""
    with serving(tmp_path_factory.mktemp("without"), wasm_backends, "none") as server:
        server.load("good", {"engine": "python"})
        yield server


@pytest.mark.parametrize("settings", [{}, {"engine": "auto"}, {"engine": "native"}], ids=["default", "auto", "native"])
def test_a_model_runs_in_the_server(native: Choosing, settings: dict[str, str], request: pytest.FixtureRequest) -> None:
    line = native.load(f"in_server_{request.node.callspec.id}", settings)
    assert line.startswith("native, loaded in ")


PYTHON = {
    "engine": ({"engine": "python"}, ECHO, "wasm.engine is python"),
    "threads": ({"threads": "2"}, ECHO, "wasm.threads is 2, and the native executor uses one thread per instance of"),
    "command": ({}, COMMAND, "the native executor does not run commands"),
}


@pytest.mark.parametrize("why", PYTHON)
def test_a_model_runs_in_a_separate_process_and_one_line_has_the_reason(native: Choosing, why: str) -> None:
    settings, wasm, reason = PYTHON[why]
    line = native.load(f"in_python_{why}", settings, wasm)
    assert line.startswith(f"runs in Triton's Python backend: {reason}")


def test_the_python_engine_uses_the_executor_core(native: Choosing) -> None:
    native.load("with_core", {"engine": "python"})
    (stub,) = [pid for pid, command in children(native.triton.pid) if b"/with_core/" in command]
    assert "/libwasm_core.so" in Path(f"/proc/{stub}/maps").read_text()


@pytest.mark.parametrize("why", ["threads", "command"])
def test_what_insists_on_native_and_cannot_be_is_not_loaded(native: Choosing, why: str) -> None:
    settings, wasm, reason = PYTHON[why]
    message = native.refusal(f"insists_{why}", {**settings, "engine": "native"}, wasm)
    assert f"wasm.engine is native, but {reason}" in message
    assert "set wasm.engine to auto or python" in message


def test_an_unknown_engine_is_reported_with_the_choices(native: Choosing, without: Choosing) -> None:
    for server in (native, without):
        message = server.refusal("unknown", {"engine": "rust"})
        assert "parameter wasm.engine is 'rust': use one of auto, native, python" in message


def test_without_the_library_models_run_in_the_python_backend_and_one_line_reports_it(without: Choosing) -> None:
    library = without.folder / "backends" / "wasm" / "libtriton_wasm.so"
    assert without.load("auto", {}).rstrip('"') == f"runs in Triton's Python backend: {library} does not exist"
    message = without.refusal("insists", {"engine": "native"})
    assert "wasm.engine is native, but Triton runs the model in its Python backend" in message
    assert "without libtriton_wasm.so (`portalis install-backend` installs it)" in message


WRONG = {
    "crash": "PORTALIS_PYTHON names a Python with wasmtime and numpy",
    "wasmtime": "wasmtime 49.0.0 is installed, and the native executor was built for 50 (pip install 'wasmtime>=50,<51')",
    "structs": "the structs of this wasmtime differ from those that the executor was built for",
    "plan": "the plan is damaged, or has a different version",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_server_that_cannot_run_models_natively_runs_them_in_python(native: Choosing, wrong: str) -> None:
    with native.broken(wrong):
        line = native.load(f"falls_back_{wrong}", {})
        assert line.startswith("runs in Triton's Python backend: ")
        assert WRONG[wrong] in line
        assert WRONG[wrong] in native.refusal(f"insists_{wrong}", {"engine": "native"})


def test_a_planner_that_is_well_again_is_asked_again(native: Choosing) -> None:
    with native.broken("crash"):
        native.refusal("insists_meanwhile", {"engine": "native"})
    assert native.load("insists_again", {"engine": "native"}).startswith("native, loaded in ")
