"""Good requests on a real Triton: bare modules, every dtype, batching, options, metrics, logs."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import pytest

from portalis.backend.interface.dtypes import DTYPES
from portalis.tritonserver import TritonServer
from tests.backend.triton import models
from tests.backend.triton.conftest import Server
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.triton
F32 = np.float32


def batched(server: Server, value: float) -> float:
    return float(server.infer("batching", x=np.array([[value]], F32))["y"][0, 0])


def check_completed(server: Server, model: str, *, batches: bool) -> None:
    a = np.arange(6, dtype=F32).reshape(2, 3)
    np.testing.assert_array_equal(server.infer(model, a=a, b=a)["y"], a + a)
    config = server.client.get_model_config(server.name(model)).config
    assert config.max_batch_size == 64
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [("a", 11, [-1]), ("b", 11, [-1])]
    assert config.HasField("dynamic_batching") == batches


@pytest.mark.parametrize("model", ["add", "warmed", "two_instances"])
def test_a_module_completes_its_configuration_and_serves(server: Server, model: str) -> None:
    """A native model is faster without a dynamic batcher."""
    check_completed(server, model, batches=server.engine == "python")


def test_a_module_needs_no_configuration_at_all(triton: TritonServer, loaded: set[str]) -> None:
    check_completed(Server(triton, loaded=loaded), "bare.wasm", batches=False)


@pytest.mark.parametrize("model", ["add", *models.PYTHON_ALONE])
def test_a_model_runs_natively_where_it_can(server: Server, model: str) -> None:
    name = f"wasm model {server.name(model)} version 1"
    if server.engine == "python":
        assert server.log_has(f"{name}: runs in Triton's Python backend: wasm.engine is python")
    elif model in models.PYTHON_ALONE:
        assert server.log_has(f"{name}: runs in Triton's Python backend: ")
    else:
        assert server.log_has(f"{name}: native, loaded in ")


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_every_dtype_round_trips(server: Server, dtype: str, bfloat16: Any) -> None:
    if dtype == "BYTES":
        x = np.array([[b"", "grün".encode(), b"\0\xff"]], dtype=object)
    elif dtype == "BF16":
        x = np.array([[1.5, -2.0, np.inf]], bfloat16)
    else:
        x = np.array([[0, 1, 100]]).astype(DTYPES[dtype].numpy)
    got = server.infer(f"echo_{dtype.lower()}", x=x)["y"]
    if dtype == "BF16":
        got, x = got.astype(F32), x.astype(F32)
    np.testing.assert_array_equal(got, x)


def test_tensors_without_elements_pass(server: Server) -> None:
    assert server.infer("echo_fp32", x=np.zeros((2, 0), F32))["y"].shape == (2, 0)


def test_models_without_a_batch_dimension_and_of_higher_rank_serve(server: Server) -> None:
    x = np.arange(5, dtype=F32)
    np.testing.assert_array_equal(server.infer("unbatched", x=x)["y"], x)
    y = np.arange(12, dtype=np.int64).reshape(3, 2, 2)
    np.testing.assert_array_equal(server.infer("rank3", x=y)["y"], y)


def test_a_scalar_output_is_a_vector_of_one(server: Server) -> None:
    x = np.arange(6, dtype=F32).reshape(2, 3)
    np.testing.assert_array_equal(server.infer("sum", x=x)["s"], x.sum(axis=1, keepdims=True))


def test_a_module_that_says_nothing_is_served_as_the_configuration_declares(server: Server) -> None:
    x = np.arange(6, dtype=F32).reshape(2, 3)
    np.testing.assert_array_equal(server.request("declared", {"in": x})["out"], x * 2)


def test_optional_inputs_may_be_left_out(server: Server) -> None:
    assert server.infer("optional", x=np.ones(1, F32))["y"].tolist() == [-1]
    assert server.infer("optional", x=np.ones(1, F32), o=np.array([5], F32))["y"].tolist() == [5]


def test_a_command_runs_once_a_row(server: Server) -> None:
    stdin = np.array([[b"one"], [b"two"]], dtype=object)
    got = server.infer("cat", stdin=stdin, args=np.array([[b"a"], [b"b"]], dtype=object))
    np.testing.assert_array_equal(got["stdout"], stdin)
    assert got["exit_code"].tolist() == [[1], [1]]


def test_a_module_is_initialised_by_its_start_before_its_entry_is_called(server: Server) -> None:
    for _ in range(3):
        assert server.infer("started", x0=np.array([[1, 2]], F32))["y"].tolist() == [[10, 20]]


def test_a_first_memory_above_the_default_limit_is_served_where_the_limit_is_raised(server: Server) -> None:
    assert server.infer("large", x0=np.array([[1, 2]], F32))["y"].tolist() == [[1, 2]]


def test_only_the_outputs_asked_for_come_back(server: Server) -> None:
    got = server.infer("cat", outputs=["exit_code"], stdin=np.array([[b"x"]], dtype=object))
    assert list(got) == ["exit_code"]


def test_concurrent_requests_are_joined_into_few_guest_calls(server: Server) -> None:
    server.eventually(lambda: server.metric("wasm_calls", "batching") >= 0)
    before = server.metric("wasm_calls", "batching")
    values = [float(v) for v in range(2, 10)]
    results = server.together([partial(batched, server, v) for v in values])
    assert results == values
    server.eventually(lambda: server.metric("wasm_calls", "batching") > before)
    assert server.metric("wasm_calls", "batching") - before < len(values)


def test_one_bad_request_in_a_batch_fails_alone(server: Server) -> None:
    values = [2.0, 1.0, 3.0, 4.0]
    results = server.together([partial(batched, server, v) for v in values])
    assert [r for r in results if not isinstance(r, Exception)] == [2.0, 3.0, 4.0]
    assert "unreachable" in str(results[1])


def test_isolation_decides_whether_state_lives_on(server: Server) -> None:
    x = np.zeros(1, F32)
    assert [server.infer("counter_batch", x=x)["y"][0] for _ in range(3)] == [1, 1, 1]
    assert [server.infer("counter_instance", x=x)["y"][0] for _ in range(3)] == [1, 2, 3]


def test_threads_serve_large_batches(server: Server) -> None:
    x = np.random.default_rng(0).random((64, 1000), F32)
    np.testing.assert_array_equal(server.infer("threaded", x=x)["y"], x)


def test_request_parameters_of_others_are_left_alone(server: Server) -> None:
    got = server.request("echo_fp32", {"x": np.ones((1, 2), F32)}, parameters={"colour": "blue", "n": 3})
    assert got["y"].tolist() == [[1, 1]]


def test_metrics_are_on_the_metrics_port(server: Server) -> None:
    for _ in range(5):
        server.infer("echo_int8", x=np.ones((1, 2), np.int8))
    server.error("trapping", x=np.ones((1, 1), F32))
    server.eventually(
        lambda: server.metric("wasm_calls", "echo_int8") >= 5 and server.metric("wasm_traps", "trapping") >= 1
    )
    assert server.metric("wasm_instances_created", "echo_int8") >= 1
    assert 0 < server.metric("wasm_guest_seconds", "echo_int8") < PATIENCE_S
    assert server.metric("wasm_memory_high_water_bytes", "echo_int8") == 65536
    assert server.metric("wasm_timeouts", "echo_int8") == 0


def test_what_the_guest_writes_is_in_tritons_log_with_the_models_name(server: Server) -> None:
    server.infer("talkative", x=np.ones((1, 2), F32))
    server.eventually(lambda: server.log_has(f"wasm model {server.name('talkative')} version 1: stdout: guest speaks"))


def test_a_flood_of_output_neither_delays_nor_fills_the_log(server: Server) -> None:
    name = f"wasm model {server.name('flooding')} version 1: "
    assert server.infer("flooding", x=np.ones((1, 2), F32))["y"].tolist() == [[1, 1]]
    server.eventually(
        lambda: bool(re.search(f"{name}[0-9]+ more lines of the guest were dropped", server.triton.log()))
    )
    assert 900 < server.triton.log().count(name) <= 1100
