"""Helper processes of the server that end: the planner process of native models, and the stub of a model in the Python
backend."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from portalis.tritonserver import TritonServer
from tests.backend import guests
from tests.backend.native.started import planners
from tests.backend.triton import models
from tests.backend.triton.conftest import Server
from tests.backend.triton.reloading import command_line, stubs

pytestmark = pytest.mark.triton
F32 = np.float32


@pytest.fixture(scope="module")
def server(shared_triton: TritonServer) -> Iterator[Server]:
    """The shared server, with a model in the native engine and one in the Python engine."""
    server = Server(shared_triton)
    for engine in models.ENGINES:
        models.write_for(shared_triton.repositories[0], engine, "bystander", guests.echo(batch=8))
        server.client.load_model(f"{engine}_bystander")
    yield server
    for engine in models.ENGINES:
        server.client.unload_model(f"{engine}_bystander")


def answers(server: Server, *names: str) -> None:
    for name in names:
        assert server.infer(name, x=np.full((1, 2), 7, F32))["y"].tolist() == [[7, 7]]


def zombies(pid: int) -> list[str]:
    """The zombies among the child processes of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            stat = Path(f"/proc/{child}/stat").read_text()
            if stat.rpartition(")")[2].split()[0] == "Z":
                found.append(stat)
    return found


def test_a_killed_planner_process_affects_no_model_and_the_next_load_starts_another(server: Server) -> None:
    for cycle in range(2):
        name = f"native_after_planner_{cycle}"
        models.write(server.triton.repositories[0], name, guests.echo(batch=8))
        server.client.load_model(name)
        (planner,) = planners(server.triton.pid)
        os.kill(planner, signal.SIGKILL)
        answers(server, name, "native_bystander", "python_bystander")
        server.eventually(lambda: not zombies(server.triton.pid))
        assert planners(server.triton.pid) == []
        server.client.unload_model(name)


def test_the_planner_process_inherits_no_open_files_of_the_server(server: Server) -> None:
    models.write(server.triton.repositories[0], "native_planned", guests.echo(batch=8))
    server.client.load_model("native_planned")
    (planner,) = planners(server.triton.pid)
    files = {int(path.name): str(path.readlink()) for path in Path(f"/proc/{planner}/fd").iterdir()}
    channel = files[0]
    assert channel.startswith("socket:")
    assert [target for target in files.values() if target.startswith("socket:") and target != channel] == []
    server.client.unload_model("native_planned")


def test_a_killed_stub_does_not_affect_native_models(server: Server) -> None:
    models.write_for(server.triton.repositories[0], "python", "killed", guests.echo(batch=8))
    server.client.load_model("python_killed")
    answers(server, "python_killed")
    (stub,) = [pid for pid in stubs(server.triton.pid) if b"/python_killed/" in command_line(pid)]
    os.kill(stub, signal.SIGKILL)
    answers(server, "native_bystander", "python_bystander")
    server.client.unload_model("python_killed")
    server.client.load_model("python_killed")
    answers(server, "python_killed", "native_bystander", "python_bystander")
    server.client.unload_model("python_killed")


def test_a_server_without_python_says_what_to_install(tmp_path: Path, wasm_backends: Path) -> None:
    models.write(tmp_path, "insists", guests.echo(batch=8), models.BARE + models.parameters({"wasm.engine": "native"}))
    models.write(tmp_path, "bystander", guests.echo(batch=8))
    with TritonServer(
        tmp_path,
        backend_directory=wasm_backends,
        require_all=False,
        environment={"PORTALIS_PYTHON": "/nowhere/python3"},
    ) as triton:
        server = Server(triton)
        answers(server, "bystander")
        message = (
            "the planner cannot be started with /nowhere/python3: No such file or directory (PORTALIS_PYTHON names a "
            "Python with wasmtime and numpy)"
        )
        assert server.log_has(f"wasm model bystander version 1: runs in Triton's Python backend: {message}")
        assert server.log_has(f"wasm model insists version 1: {message}")
