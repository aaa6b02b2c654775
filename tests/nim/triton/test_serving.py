"""A running image infers, survives a trap, serves metrics and ends cleanly, as its own user and confined."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from portalis.examples.catalog import EXAMPLES
from tests.nim.triton.conftest import WITH_CONFIG, Built
from tests.nim.triton.server import CONFINED, Server, serving
from tests.running.waiting import until

pytestmark = [pytest.mark.triton, pytest.mark.slow]
PROTOCOLS = pytest.mark.parametrize("protocol", [tritonclient.grpc, tritonclient.http], ids=["grpc", "http"])
BAD, GOOD = np.ones((1, 1), np.float32), np.full((1, 1), 7, np.float32)


@pytest.fixture(scope="module")
def confined(built: Built, repository: Path) -> Iterator[Server]:
    """A server that runs as an arbitrary user, with a read-only root file system and without capabilities."""
    with serving(built.engine, built.image, repository, user="4242", **CONFINED) as server:
        yield server


@PROTOCOLS
@pytest.mark.parametrize("name", [*WITH_CONFIG, "gelu"])
def test_the_results_of_the_examples_are_correct(confined: Server, protocol: object, name: str) -> None:
    example = EXAMPLES[name]
    inputs = example.inputs()
    # gelu is a bare module: a directory without config.pbtxt
    outputs = confined.infer(protocol, "gelu.wasm" if name == "gelu" else name, inputs)  # type: ignore[arg-type]
    expected = example.reference(inputs)
    assert outputs.keys() == expected.keys()
    rtol, atol = example.tolerances
    for key, array in expected.items():
        np.testing.assert_allclose(outputs[key], array, rtol=rtol, atol=atol)


def test_a_bare_module_has_its_configuration_completed(confined: Server) -> None:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{confined.ports.grpc}") as client:
        config = client.get_model_config("gelu.wasm", as_json=True)["config"]
    assert config["backend"] == "wasm"
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": ["-1"]}]
    assert config["max_batch_size"] > 0


@PROTOCOLS
def test_a_trap_fails_only_its_own_request(confined: Server, protocol: object) -> None:
    with pytest.raises(InferenceServerException, match="the guest trapped: wasm `unreachable`") as caught:
        confined.infer(protocol, "moody", {"x": BAD})  # type: ignore[arg-type]
    assert "Traceback" not in caught.value.message()
    np.testing.assert_equal(confined.infer(protocol, "moody", {"x": GOOD}), {"y": GOOD})  # type: ignore[arg-type]
    assert confined.ready()


def test_metrics_cover_models_and_guests(confined: Server) -> None:
    before = confined.metric("nv_inference_request_success", "moody")
    traps = confined.metric("wasm_traps", "moody")
    confined.infer(tritonclient.grpc, "moody", {"x": GOOD})
    assert confined.metric("nv_inference_request_success", "moody") == before + 1
    with pytest.raises(InferenceServerException):
        confined.infer(tritonclient.grpc, "moody", {"x": BAD})
    # metrics are updated in the background, so a trap of an earlier test can also be counted late
    until(lambda: confined.metric("wasm_traps", "moody") > traps)
    assert confined.metric("wasm_calls", "moody") > 0


def test_the_confined_server_runs_as_the_given_user_and_caches_compiled_modules(confined: Server) -> None:
    status, output = confined.execute("id", "-u")
    assert (status, output) == (0, "4242\n")
    assert confined.execute("touch", "/opt/x")[0] != 0
    assert confined.execute("grep", "CapEff:\t0000000000000000", "/proc/1/status")[0] == 0
    # the root file system is read-only, so they are in /tmp
    assert ".code" in confined.execute("ls", "/tmp/portalis-modules-4242")[1]


def test_models_run_in_the_server_and_are_planned_by_the_images_python(confined: Server) -> None:
    assert "wasm model gelu.wasm version 1: native, loaded in" in confined.log()
    named = confined.execute("cat", "/opt/tritonserver/backends/wasm/interpreter")[1].strip()
    assert confined.execute(named, "-c", "import wasmtime")[0] == 0


def test_the_health_check_works_on_a_different_port(confined: Server) -> None:
    until(lambda: confined.state()["Health"]["Status"] == "healthy")
    assert confined.state()["Health"]["Log"][-1]["Output"] == "ready\n"


def test_the_images_own_user_caches_compiled_modules_and_ends_cleanly_under_load(
    built: Built, repository: Path
) -> None:
    """SIGTERM arrives during many requests: each gets a correct response, or is rejected before it began."""
    inputs = EXAMPLES["softmax"].inputs()
    expected = EXAMPLES["softmax"].reference(inputs)
    with serving(built.engine, built.image, repository) as server:
        assert server.execute("id", "-u")[1] == "1000\n"
        status, cached = server.execute("ls", "-ln", "/var/cache/triton/portalis/modules")
        assert status == 0
        assert cached.count(".code") >= len(WITH_CONFIG)

        def ask(_: int) -> str:
            try:
                answer = server.infer(tritonclient.grpc, "softmax", inputs)
            except InferenceServerException as refused:
                return str(refused.status())
            for key, array in expected.items():
                np.testing.assert_allclose(answer[key], array, rtol=1e-4, atol=1e-6)
            return "answered"

        assert ask(0) == "answered"
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, i) for i in range(200)]
            assert server.stop() == 0, server.log()
            outcomes = {each.result() for each in asked}
        assert "Traceback" not in server.log()
    # the port is closed, Triton is shutting down, or its models are already unloaded
    assert outcomes <= {"answered", *(f"StatusCode.{name}" for name in ("UNAVAILABLE", "CANCELLED", "NOT_FOUND"))}
