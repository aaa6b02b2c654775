"""Bad requests and bad guests on a real Triton: each fails alone, in time, with a code and a message that helps."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backend.triton.conftest import Server
from tests.backend.triton.reloading import command_line, stubs
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.triton
F32 = np.float32
BAD, GOOD = np.ones((1, 1), F32), np.zeros((1, 1), F32)


def still_serves(server: Server, model: str) -> None:
    assert server.in_time(model, x=GOOD)["y"].tolist() == [[0]]


@pytest.mark.parametrize(
    ("model", "code", "text"),
    [
        ("trapping", "INTERNAL", "entry 'portalis_infer': the guest trapped: wasm `unreachable` instruction executed"),
        ("overflowing", "INTERNAL", "call stack exhausted"),
        ("misnamed", "INTERNAL", "wasm `unreachable` instruction executed"),
        ("growing", "INTERNAL", "unreachable"),
        ("lying_pointer", "INTERNAL", "output 'y' points outside the guest's memory"),
        ("lying_shape", "INTERNAL", "output 'y' has rank 99; at most 8 is allowed"),
        ("refusing", "INVALID_ARGUMENT", "the guest returned status 7"),
        ("looping", "UNAVAILABLE", "longer than its time limit of 0.4 s"),
    ],
)
def test_a_hostile_guest_fails_its_own_request(server: Server, model: str, code: str, text: str) -> None:
    for _ in range(3):
        status, message = server.error(model, x=BAD)
        assert status == f"StatusCode.{code}"
        assert text in message
        assert len(message) <= 4096
        still_serves(server, model)


def test_a_trap_has_its_backtrace(server: Server) -> None:
    assert "wasm backtrace:" in server.error("trapping", x=BAD)[1]


def test_a_loop_ends_with_its_deadline(server: Server) -> None:
    server.in_time("looping", x=GOOD)
    began = time.monotonic()
    server.error("looping", x=BAD)
    assert 0.35 < time.monotonic() - began < PATIENCE_S


def test_a_start_function_that_loops_is_stopped_too(server: Server) -> None:
    assert "time limit of 0.4 s" in server.error("start_loops", x=np.zeros(1, F32))[1]


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"timeout": 100_000}, "0.1 s"),
        ({"parameters": {"wasm.timeout_ms": "150"}}, "0.15 s"),
        ({"timeout": 60_000_000}, "0.4 s"),
    ],
)
def test_a_request_may_shorten_the_deadline_but_not_lengthen_it(
    server: Server, options: dict[str, object], seconds: str
) -> None:
    status, message = server.error("looping", options, x=BAD)
    assert status == "StatusCode.UNAVAILABLE"
    assert f"time limit of {seconds}" in message


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"wasm.entry": "other"}, "request parameter wasm.entry is unknown: a request can set wasm.timeout_ms"),
        (
            {"wasm.timeout_ms": "soon"},
            "request parameter wasm.timeout_ms is 'soon': use a number of milliseconds above 0",
        ),
        ({"wasm.timeout_ms": -5}, "use a number of milliseconds above 0"),
    ],
)
def test_bad_request_parameters_are_named(server: Server, parameters: dict[str, object], text: str) -> None:
    status, message = server.error("echo_fp32", {"parameters": parameters}, x=np.ones((1, 2), F32))
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert text in message


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": np.ones((1, 2), np.int8)},
        {"x": np.ones((2,), F32)},
        {"x": np.ones((9, 2), F32)},
        {"z": np.ones((1, 2), F32)},
        {"x": np.ones((1, 2), F32), "z": np.ones((1, 2), F32)},
    ],
)
def test_requests_that_do_not_fit_are_rejected(server: Server, inputs: dict[str, Any]) -> None:
    assert server.error("echo_fp32", **inputs)[0] == "StatusCode.INVALID_ARGUMENT"
    server.infer("echo_fp32", x=np.ones((1, 2), F32))


def test_shapes_that_do_not_broadcast_are_the_requests_error(server: Server) -> None:
    status, message = server.error("add", a=np.ones((1, 2), F32), b=np.ones((1, 3), F32))
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert "do not broadcast together: 'a' [1, 2], 'b' [1, 3]" in message


def processor_seconds(pid: int) -> float:
    """The CPU time of a process so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_a_request_whose_client_has_left_is_not_run(server: Server) -> None:
    from tritonclient.utils import InferenceServerException

    model, process = server.name("slow_to_stop"), server.triton.pid
    if server.engine == "python":
        (process,) = [pid for pid in stubs(server.triton.pid) if f"/{model}/".encode() in command_line(pid)]
    idle_s = processor_seconds(process)

    def abandoned() -> None:
        # behind the loop, not in one batch with it; the loop takes 10 s, all of them on a processor
        server.eventually(lambda: processor_seconds(process) > idle_s + 0.3)
        server.request("slow_to_stop", {"x": GOOD}, client_timeout=0.3)

    server.eventually(lambda: server.metric("wasm_calls", "slow_to_stop") >= 0)
    before = server.metric("wasm_calls", "slow_to_stop")
    results = server.together([lambda: server.error("slow_to_stop", x=BAD), *[abandoned] * 3])
    assert all(isinstance(r, InferenceServerException) for r in results[1:])
    still_serves(server, "slow_to_stop")
    server.eventually(lambda: server.metric("wasm_calls", "slow_to_stop") >= before + 2)
    time.sleep(1.5)
    assert server.metric("wasm_calls", "slow_to_stop") == before + 2  # the loop, and the last: none of the three


def test_isolation_request_answers_the_good_and_names_the_bad(server: Server) -> None:
    results = server.together([partial(server.infer, "per_request", x=np.array([[v]], F32)) for v in (2.0, 1.0, 3.0)])
    assert isinstance(results[1], Exception)
    assert results[0]["y"].tolist() == [[2]]
