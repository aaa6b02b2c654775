"""Selection of the Python for the planner process: in a real server whose PATH has no suitable one."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portalis.triton_client import load_model
from portalis.tritonserver import TritonServer
from portalis.wasm_backend import INTERPRETER, install_backend
from tests.backend.native.started import planners
from tests.portalis.conftest import write_model
from tests.running import waiting

pytestmark = pytest.mark.triton


class Server:
    """A server whose planner process is ended after each load, so that the next one searches for its Python again."""

    def __init__(self, triton: TritonServer, repository: Path, wasm: Path, path: Path) -> None:
        self.triton, self.repository, self.wasm, self.path = triton, repository, wasm, path
        self.models = 0

    def load(self) -> str:
        """Load a new model. Returns the Python that planned it."""
        self.models += 1
        name = f"add{self.models}"
        write_model(self.repository, name)
        load_model(self.triton.grpc_url, name, timeout_s=waiting.PATIENCE_S)
        assert f"wasm model {name} version 1: native, loaded" in self.triton.log()
        (planner,) = planners(self.triton.pid)
        command = Path(f"/proc/{planner}/cmdline").read_bytes().split(b"\0")[0].decode()
        os.kill(planner, signal.SIGKILL)
        return command


def start(folder: Path, backends: Path, **environment: str) -> tuple[TritonServer, Path, Path]:
    """A server on an installed backend, with a PATH whose `python3` cannot plan."""
    shutil.copytree(backends / "python", folder / "backends" / "python", symlinks=True)
    for name in ("models", "bin"):
        (folder / name).mkdir()
    python3 = folder / "bin" / "python3"
    python3.write_text("#!/bin/sh\nexit 1\n")
    python3.chmod(0o755)
    wasm = install_backend(folder / "backends")
    triton = TritonServer(
        folder / "models",
        backend_directory=folder / "backends",
        model_control="explicit",
        environment={"PATH": f"{folder / 'bin'}:/usr/bin:/bin", **environment},
    )
    return triton, wasm, python3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, wasm_backends: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("planned")
    triton, wasm, python3 = start(folder, wasm_backends)
    with triton:
        yield Server(triton, folder / "models", wasm, python3)


def test_the_python_that_installed_the_backend_plans(server: Server) -> None:
    assert server.load() == sys.executable


def test_a_python_that_is_gone_leaves_that_of_path(server: Server) -> None:
    (server.wasm / INTERPRETER).write_text("/gone/python\n")
    server.path.write_text(f'#!/bin/sh\ntouch "$0.used"\nexec "{sys.executable}" "$@"\n')
    server.load()
    assert server.path.with_name("python3.used").exists()


def test_a_backend_without_a_word_about_it_uses_that_of_path(server: Server) -> None:
    (server.wasm / INTERPRETER).unlink()
    server.path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    server.load()


def test_the_environment_names_another(tmp_path: Path, wasm_backends: Path) -> None:
    triton, wasm, python3 = start(tmp_path, wasm_backends, PORTALIS_PYTHON=sys.executable)
    (wasm / INTERPRETER).write_text(f"{python3}\n")
    with triton:
        assert Server(triton, tmp_path / "models", wasm, python3).load() == sys.executable
