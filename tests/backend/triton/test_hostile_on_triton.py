"""Hostile guests on a real Triton: each affects only its own request, and leaves no trace when it is unloaded."""

from __future__ import annotations

import shlex
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from portalis.tritonserver import TritonServer
from portalis.tritonserver.install import STUB_NAME
from tests.backend import guests
from tests.backend.guests import tensor
from tests.backend.triton import models
from tests.backend.triton.conftest import Server
from tests.backend.triton.reloading import command_line, stubs

pytestmark = pytest.mark.triton
F32 = np.float32
BAD, GOOD = np.ones((1, 1), F32), np.zeros((1, 1), F32)
BRIEFLY = models.parameters({"wasm.timeout_ms": "150"})
ENTRY = {
    "entry": "portalis_infer",
    "convention": "dlpack",
    "inputs": [tensor("x")],
    "outputs": [tensor("y")],
    "max_batch_size": 8,
}
NEVER_STARTS = guests.wasm(
    f"""(module {guests.PRELUDE} (func $s (loop $l (br $l))) (start $s)
    (func (export "portalis_infer") (param i32 i32 i32 i32) (result i32) (i32.const 0)))""",
    ENTRY,
)


@dataclass(frozen=True)
class Attack:
    """A guest, and how a request that provokes it (x is 1) ends: with a code and words, or with an answer (no code).
    `recovers` is whether a request that does not provoke it is answered."""

    module: bytes
    code: str = ""
    text: str = ""
    recovers: bool = True
    config: str = BRIEFLY


ATTACKS = {
    "endless": Attack(models.LOOP, "UNAVAILABLE", "longer than its time limit of 0.15 s"),
    "never_starts": Attack(NEVER_STARTS, "UNAVAILABLE", "time limit of 0.15 s", recovers=False),
    "recursive": Attack(
        guests.when_asked("(call $down)", "(func $down (call $down))"), "INTERNAL", "call stack exhausted", config=""
    ),
    "greedy": Attack(
        guests.when_asked("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 64)) (i32.const -1)))) unreachable"),
        "INTERNAL",
        "unreachable",
        config="",
    ),
    "forging": Attack(models.talkative(1, b"\x1b[2J\rfine\nE0101 00:00:00.000000 1 model.py:1] forged\n"), config=""),
    "flooding": Attack(models.talkative(3_000), config=""),
}


@pytest.fixture(scope="module")
def neighbours(shared_triton: TritonServer) -> TritonServer:
    """The shared server, with a neighbour in each engine that means no harm."""
    for engine in models.ENGINES:
        models.write_for(shared_triton.repositories[0], engine, "neighbour", guests.echo(batch=8))
        Server(shared_triton).client.load_model(f"{engine}_neighbour")
    return shared_triton


@pytest.fixture(params=models.ENGINES)
def server(neighbours: TritonServer, request: pytest.FixtureRequest) -> Server:
    return Server(neighbours, request.param)


def load(server: Server, backends: Path, name: str, attack: Attack) -> str:
    """Load the attack; returns its model name, which begins with the engine's.

    A separate process is monitored: see `ends`.
    """
    models.write_for(server.triton.repositories[0], server.engine, name, attack.module, models.BARE + attack.config)
    if server.engine == "python":
        folder = server.triton.repositories[0] / server.name(name)
        stub = folder / STUB_NAME  # which Triton prefers to its own
        real, ends = shlex.quote(str(backends / "python" / STUB_NAME)), shlex.quote(str(folder / "ends"))
        stub.write_text(f'#!/bin/sh\n{real} "$@"\ncode=$?\n[ $# = 0 ] || echo $code >>{ends}\nexit $code\n')
        stub.chmod(0o755)
    server.client.load_model(server.name(name))
    return name


def unload(server: Server, model: str) -> None:
    """Unload immediately, and check that each of the model's processes exited normally and that a native model logged
    its totals."""
    name = server.name(model)
    folder = server.triton.repositories[0] / name
    assert bool(watching(server, folder)) == (server.engine == "python")
    server.client.unload_model(name)
    if server.engine == "python":
        server.eventually(lambda: not watching(server, folder))
        assert set((folder / "ends").read_text().split()) == {"0"}
    else:
        server.eventually(lambda: server.log_has(f"wasm model {name} version 1: unloaded after "))


def watching(server: Server, folder: Path) -> list[int]:
    """The processes that watch the stubs of the model in `folder`, see `load`. Other models of the server may be on their
    way out."""
    return [pid for pid in stubs(server.triton.pid) if str(folder / STUB_NAME).encode() in command_line(pid)]


def provoke(server: Server, model: str, attack: Attack) -> None:
    if not attack.code:
        assert server.infer(model, x=BAD)["y"].tolist() == [[1]]
        return
    status, message = server.error(model, x=BAD)
    assert status == f"StatusCode.{attack.code}"
    assert attack.text in message


def neighbour_answers(server: Server) -> None:
    for engine in models.ENGINES:
        neighbour = Server(server.triton, engine)
        assert neighbour.infer("neighbour", x=np.full((1, 2), 7, F32))["y"].tolist() == [[7, 7]]


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_with_its_own_request_and_the_server_answers_others(
    server: Server, wasm_backends: Path, name: str
) -> None:
    attack = ATTACKS[name]
    model = load(server, wasm_backends, f"attack_{name}", attack)
    for _ in range(2):
        provoke(server, model, attack)
        neighbour_answers(server)
        if attack.recovers:
            assert server.in_time(model, x=GOOD)["y"].tolist() == [[0]]
    provoke(server, model, attack)
    unload(server, model)
    neighbour_answers(server)


def test_what_a_guest_writes_cannot_forge_or_move_lines_of_the_log(server: Server, wasm_backends: Path) -> None:
    model = load(server, wasm_backends, "attack_forging_alone", ATTACKS["forging"])
    provoke(server, model, ATTACKS["forging"])
    unload(server, model)
    name = server.name(model)
    server.eventually(lambda: server.log_has(f"{name} version 1: unloaded after 1 guest calls"))
    log = server.triton.log()
    assert "\x1b" not in log
    assert "\r" not in log
    forged = [line for line in log.splitlines() if line.endswith(("forged", 'forged"')) and name in line]
    assert len(forged) == 1
    assert f"wasm model {name} version 1: stdout: E0101" in forged[0]


def test_a_guest_that_is_busy_does_not_keep_its_model_from_being_replaced(server: Server, wasm_backends: Path) -> None:
    attack = ATTACKS["endless"]
    model = load(server, wasm_backends, "attack_while_replaced", attack)
    stop, results = threading.Event(), list[str]()

    def ask() -> None:
        own = Server(server.triton, server.engine)
        while not stop.is_set():
            results.append(own.error(model, x=BAD)[0])

    clients = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    for client in clients:
        client.start()
    for _ in range(2):
        (server.triton.repositories[0] / server.name(model) / "1" / "model.wasm").touch()
        server.client.load_model(server.name(model))
        neighbour_answers(server)
    stop.set()
    for client in clients:
        client.join(60)
    assert set(results) == {"StatusCode.UNAVAILABLE"}  # the guest's deadline, see `ATTACKS`; nothing else
    unload(server, model)
