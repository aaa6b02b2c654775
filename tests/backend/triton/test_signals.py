"""Guests that read out of bounds in the server's process: their code checks addresses itself, because the signal
handlers are Triton's, installed after it has loaded its first models."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from portalis.backend import Limits, Program, Trap
from portalis.tritonserver import TritonServer
from tests.backend import guests
from tests.backend.triton import models
from tests.backend.triton.conftest import Server

pytestmark = pytest.mark.triton
F32 = np.float32
GOOD, BAD = np.zeros((1, 1), F32), np.ones((1, 1), F32)
FAULTS = {
    "read": ("(drop (i32.load (i32.const 0x7ffffff0)))", "out of bounds memory access"),
    "write": ("(i32.store (i32.const -8) (i32.const 1))", "out of bounds memory access"),
    "divide": ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", "integer divide by zero"),
    "descend": ("(call $down)", "call stack exhausted"),
}
DOWN = "(func $down (call $down))"
OF_WASMTIME = {4: "SIGILL", 8: "SIGFPE"}  # it handles these beside SIGSEGV; Triton does not


def caught(pid: int | str = "self") -> set[str]:
    """The signals of OF_WASMTIME that a process handles."""
    (mask,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return {name for number, name in OF_WASMTIME.items() if int(mask, 16) >> number - 1 & 1}


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory, wasm_backends: Path) -> Iterator[TritonServer]:
    """A server that has half of the models from its start, and loads the other half when it has installed its handlers."""
    repository = tmp_path_factory.mktemp("signals")
    for name, (code, _) in FAULTS.items():
        for when in ("early", "late"):
            models.write_for(repository, "native", f"{when}_{name}", guests.when_asked(code, DOWN))
    early = [f"--load-model=native_early_{name}" for name in FAULTS]
    with TritonServer(
        repository, backend_directory=wasm_backends, model_control="explicit", extra_args=early
    ) as triton:
        for name in FAULTS:
            Server(triton).client.load_model(f"native_late_{name}")
        yield triton


@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_a_guest_is_a_trap_whenever_its_model_was_loaded(triton: TritonServer, name: str, when: str) -> None:
    server = Server(triton, "native")
    for _ in range(2):
        status, message = server.error(f"{when}_{name}", x=BAD)
        assert status == "StatusCode.INTERNAL" and FAULTS[name][1] in message
        for other in ("early", "late"):
            assert server.infer(f"{other}_{name}", x=GOOD)["y"].tolist() == [[0]]
    assert triton.running()


def test_no_handler_of_the_server_is_wasmtimes(triton: TritonServer) -> None:
    """With signals, as in this process, wasmtime handles more of them than Triton does."""
    with pytest.raises(Trap, match="out of bounds"):
        Program.load(guests.when_asked(FAULTS["read"][0]), limits=Limits()).run({"x": BAD})
    assert caught() == set(OF_WASMTIME.values())
    assert caught(triton.pid) == set()
    os.kill(triton.pid, 0)
