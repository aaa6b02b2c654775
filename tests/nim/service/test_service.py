"""The service over real HTTP: results of the examples, errors, health and the copied package."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wasmtime

from portalis.backend import Program
from portalis.examples.catalog import EXAMPLES
from portalis.nim.service.module_model import ModuleModel
from portalis.wasm_backend import island
from tests.backend import guests
from tests.parts import ROOT
from tests.running import waiting
from tests.running.ports import free_port

from .serving import Client, array_of, serving, tensor

TRAP = '(module (func $deep (param $x f32) (result f32) unreachable) (export "trap" (func $deep)))'
SPIN = '(module (func (export "spin") (param $x f32) (result f32) (loop br 0) (f32.const 0)))'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("modules")
    for name, example in EXAMPLES.items():
        (folder / f"{name}.wasm").write_bytes(example.module.read_bytes())
    (folder / "trap.wasm").write_bytes(wasmtime.wat2wasm(TRAP))
    (folder / "spin.wasm").write_bytes(wasmtime.wat2wasm(SPIN))
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Client]:
    models: list[dict[str, Any]] = [{"name": name, "file": f"{name}.wasm", "version": "3"} for name in EXAMPLES]
    with serving(folder, models, name="shop", version="1.2.3", max_request_bytes=4_000_000) as client:
        client.wait_ready()
        yield client


def request_of(values: list[Any], **changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, len(values)], "data": values, **changes}]}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.service
def test_an_examples_results_equal_its_reference(client: Client, name: str) -> None:
    example = EXAMPLES[name]
    inputs = example.inputs()
    status, document = client.infer(name, {"id": "7", "inputs": [tensor(key, each) for key, each in inputs.items()]})
    assert status == 200, document
    assert (document["model_name"], document["model_version"], document["id"]) == (name, "3", "7")
    rtol, atol = example.tolerances
    expected = example.reference(inputs)
    outputs = {each["name"]: array_of(each) for each in document["outputs"]}
    assert set(outputs) == set(expected)
    for key, reference in expected.items():
        if reference.dtype == object:
            assert outputs[key].tolist() == reference.tolist()
        else:
            np.testing.assert_allclose(outputs[key], reference, rtol=rtol, atol=atol)


@pytest.mark.service
def test_only_requested_outputs_are_sent(client: Client) -> None:
    text = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["hello"]}
    _, document = client.infer("wordpiece", {"inputs": [text], "outputs": [{"name": "attention_mask"}]})
    assert [each["name"] for each in document["outputs"]] == ["attention_mask"]


@pytest.mark.service
def test_nested_data_equals_flat_data(client: Client) -> None:
    nested = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2], [3, 4]]}]}
    flat = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}]}
    assert client.infer("softmax", nested) == client.infer("softmax", flat)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "inputs: it is missing"),
        ({"inputs": {}}, "inputs: expected a list, got an object"),
        ({"inputs": []}, "input 'x' is missing"),
        (request_of([1], name="y"), "unknown input 'y'; the inputs are x"),
        ({"inputs": request_of([1])["inputs"] * 2}, "input 'x' appears twice"),
        (request_of([1], datatype="FP64"), "input 'x' has datatype 'FP64'; expected FP32"),
        (request_of([1], shape=[1, 2]), "input 'x': shape [1, 2] has 2 elements, but data has 1"),
        (request_of([1], shape=[-1]), "inputs[0].shape[0]: expected at least 0, got -1"),
        (request_of([1], shape=[1, 1.5]), "inputs[0].shape[1]"),
        (request_of([1], data="1"), "input 'x': data: expected a list"),
        (request_of([1, "two"]), "'two' is not a number"),
        (request_of([1, None]), "element 1 is null, not a number"),
        (request_of([1e39]), "1e+39 is too large"),
        (request_of([[1, 2], [3]], shape=[2, 2]), "the nesting of data does not match shape [2, 2] at axis 1"),
        ({**request_of([1]), "outputs": [{"name": "z"}]}, "unknown output 'z'; the outputs are y"),
        ([1, 2], "the request: expected an object, got a list"),
    ],
)
@pytest.mark.service
def test_an_invalid_request_is_rejected_with_400_and_the_reason(client: Client, request_: Any, message: str) -> None:
    status, document = client.infer("softmax", request_)
    assert (status, document["error"]["code"], document["error"]["type"]) == (400, 400, "InputError")
    assert message in document["error"]["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the request is not valid JSON"),
        (b"{", "the request is not valid JSON"),
        (b"\xff\xfe\xfa", "the request is not valid JSON"),
        (
            b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [nan]}]}',
            "the request is not valid JSON",
        ),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"inputs":[' + b"9" * 5000 + b"]}", "the request is not valid JSON"),
    ],
)
@pytest.mark.service
def test_a_body_that_is_not_json_is_rejected_with_400(client: Client, body: bytes, message: str) -> None:
    status, document = client.send("/v1/models/softmax/infer", body)
    assert status == 400
    assert message in document["error"]["message"]


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.service
def test_nan_and_infinity_are_bare_literals_as_in_triton(client: Client, api: str) -> None:
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[NaN,Infinity,-Infinity,1]}]}'
    with urllib.request.urlopen(f"http://127.0.0.1:{client.port}/{api}/models/gelu/infer", body) as response:
        text = response.read()
    assert b"[NaN,Infinity," in text
    output = json.loads(text)["outputs"][0]
    status, document = client.infer("gelu", {"inputs": [{**output, "name": "x"}]})
    assert status == 200 and math.isnan(document["outputs"][0]["data"][0]), document
    as_text = json.dumps(request_of(["NaN", "Infinity", "-Infinity", 1])).encode()
    assert client.send(f"/{api}/models/gelu/infer", as_text)[0] == 200, "text is accepted too"


@pytest.mark.service
def test_an_unknown_model_is_404_with_the_names_of_the_models(client: Client) -> None:
    status, document = client.infer("sofmax", request_of([1]))
    assert (status, document["error"]["type"]) == (404, "NotFoundError")
    assert "'sofmax'" in document["error"]["message"] and "softmax" in document["error"]["message"]


@pytest.mark.service
def test_unknown_paths_and_methods_have_the_same_error_format(client: Client) -> None:
    assert client.get("/nothing") == (
        404,
        {
            "error": {
                "message": "no route for path '/nothing'; /openapi.json lists all paths",
                "type": "NotFoundError",
                "code": 404,
            }
        },
    )
    status, document = client.get("/v1/models/softmax/infer")
    assert (status, document["error"]["type"]) == (405, "MethodNotAllowedError")


@pytest.mark.service
def test_a_request_above_the_limit_is_413_with_and_without_a_declared_length(client: Client) -> None:
    status, document = client.send("/v1/models/softmax/infer", b" " * 4_000_001)
    assert (status, document["error"]["type"]) == (413, "RequestTooLargeError")
    with socket.create_connection(("127.0.0.1", client.port), timeout=waiting.PATIENCE_S) as connection:
        connection.sendall(
            b"POST /v1/models/softmax/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"7a1201\r\n" + b" " * 0x7A1201 + b"\r\n"
        )
        assert b" 413 " in connection.recv(64)


@pytest.mark.service
def test_a_trap_is_500_with_the_guests_backtrace_and_is_counted(folder: Path) -> None:
    # its warm-up request traps too, so it is never ready, but requests are still run
    with serving(folder, [{"name": "trap", "file": "trap.wasm"}]) as client:
        client.wait_loaded()
        status, document = client.infer("trap", request_of([1]))
        assert (status, document["error"]["type"]) == (500, "Trap")
        assert "unreachable" in document["error"]["message"] and "deep" in document["error"]["message"]
        assert "Traceback" not in document["error"]["message"]
        status, document = client.get("/v1/health/ready")
        assert status == 503
        assert "model 'trap' failed" in document["error"]["message"]
        assert 'wasm_service_traps_total{model="trap"} 1.0' in client.get("/v1/metrics")[1]
        assert client.get("/v1/health/live")[0] == 200


@pytest.mark.service
def test_hostile_function_names_neither_end_the_service_nor_fill_the_response(folder: Path) -> None:
    text = (
        '(module (func $deep unreachable) (func (export "f") (param $x f32) (result f32) (call $deep) (local.get $x)))'
    )
    for number, name in enumerate((guests.cxx_bomb(), "n" * 90_000, "f\x1b[2K\rforged")):
        module = guests.named(bytes(wasmtime.wat2wasm(text)), dict.fromkeys(range(2), name))
        (folder / f"misnamed{number}.wasm").write_bytes(module)
    nothing = request_of([], shape=[0])["inputs"]
    nothing[0]["name"] = "x0"
    models = [{"name": f"misnamed{i}", "file": f"misnamed{i}.wasm", "warm_up": nothing} for i in range(3)]
    with serving(folder, [*models, {"name": "gelu", "file": "gelu.wasm"}]) as client:
        client.wait_ready()
        for i in range(3):
            status, document = client.infer(
                f"misnamed{i}", {"inputs": [{**request_of([1])["inputs"][0], "name": "x0"}]}
            )
            assert (status, document["error"]["type"]) == (500, "Trap")
            assert len(document["error"]["message"]) <= 4096
            assert all(c.isprintable() or c == "\n" for c in document["error"]["message"])
            assert client.infer("gelu", request_of([1]))[0] == 200


@pytest.mark.service
def test_a_guest_that_takes_too_long_is_504_and_does_not_delay_others(folder: Path) -> None:
    nothing = request_of([], shape=[0])["inputs"]
    slow = {"name": "spin", "file": "spin.wasm", "limits": {"timeout_s": 5.0}, "warm_up": nothing}
    with serving(folder, [{"name": "gelu", "file": "gelu.wasm"}, slow]) as client:
        client.wait_ready()
        results: list[tuple[int, Any]] = []
        caller = threading.Thread(target=lambda: results.append(client.infer("spin", request_of([1]))))
        caller.start()
        waiting.until(lambda: client.metric('wasm_service_batch_requests_count{model="spin"}') == 1, every_s=0.02)
        assert client.get("/v1/health/live")[0] == 200
        assert client.infer("gelu", request_of([1]))[0] == 200
        assert results == [], "the guest is still running"
        caller.join()
        ((status, document),) = results
        assert status == 504
        assert "raise limits.timeout_s in service.json of the server if it needs longer" in document["error"]["message"]


@pytest.mark.service
def test_the_service_is_live_but_not_ready_until_every_model_has_served_a_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, warm_up = threading.Event(), ModuleModel._warm_up

    def warm_up_when_released(model: ModuleModel, program: Program) -> None:
        assert released.wait(waiting.PATIENCE_S)
        warm_up(model, program)

    monkeypatch.setattr(ModuleModel, "_warm_up", warm_up_when_released)
    with serving(folder, [{"name": "gelu", "file": "gelu.wasm"}]) as client, contextlib.ExitStack() as stack:
        stack.callback(released.set)
        status, document = client.get("/v1/health/ready")
        assert (status, document["error"]["type"], document["error"]["code"]) == (503, "ServiceUnavailableError", 503)
        assert "model 'gelu' is still loading" in document["error"]["message"]
        assert client.infer("gelu", request_of([1]))[0] == 503
        assert client.get("/v1/health/live") == (200, {"object": "health.response", "message": "Service is live."})
        released.set()
        client.wait_ready()


@pytest.mark.service
def test_a_model_that_cannot_be_loaded_reports_the_reason_and_others_are_served(folder: Path) -> None:
    models: list[dict[str, Any]] = [
        {"name": "gone", "file": "gone.wasm"},
        {"name": "limits", "file": "gelu.wasm", "limits": {"memory": 5}},
        {"name": "gelu", "file": "gelu.wasm"},
    ]
    with serving(folder, models) as client:
        client.wait_loaded()
        message = client.get("/ready")[1]["error"]["message"]
        assert "model 'gone' failed: " in message and "gone.wasm" in message
        assert "limits has an unknown key; the limits are max_memory_bytes" in message
        assert client.infer("gelu", request_of([1]))[0] == 200


@pytest.mark.service
def test_a_custom_warm_up_request_decides_whether_the_model_is_ready(folder: Path) -> None:
    good, bad = request_of([1])["inputs"], request_of([1], name="q")["inputs"]
    models = [
        {"name": "good", "file": "gelu.wasm", "warm_up": good},
        {"name": "bad", "file": "gelu.wasm", "warm_up": bad},
    ]
    with serving(folder, models) as client:
        client.wait_loaded()
        assert client.get("/ready")[1]["error"]["message"].endswith(
            "model 'bad' failed: unknown input 'q'; the inputs are x"
        )


@pytest.mark.service
def test_health_has_its_aliases_and_the_configured_endpoint(folder: Path) -> None:
    with serving(folder, [{"name": "gelu", "file": "gelu.wasm"}], health_check_endpoint="/healthz") as client:
        client.wait_ready()
        ready = (200, {"object": "health.response", "message": "Service is ready."})
        assert client.get("/v1/health/ready") == client.get("/ready") == ready
        assert client.get("/v1/health/live") == client.get("/health") == client.get("/healthz")


@pytest.mark.service
def test_models_metadata_and_version(client: Client) -> None:
    _, models = client.get("/v1/models")
    assert models["object"] == "list"
    assert [(each["id"], each["object"]) for each in models["data"]] == [(name, "model") for name in EXAMPLES]
    _, metadata = client.get("/v1/metadata")
    softmax = next(each for each in metadata["models"] if each["name"] == "softmax")
    assert metadata["name"] == "shop" and softmax["convention"] == "gufunc" and len(softmax["sha256"]) == 64
    assert softmax["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}]
    assert client.get("/v1/version") == (200, {"release": "1.2.3", "api": "1.0.0"})


@pytest.mark.service
def test_metrics_are_on_both_ports(client: Client) -> None:
    client.infer("gelu", request_of([1]))
    client.infer("gelu", {})
    for path, port in (("/metrics", client.port), ("/v1/metrics", client.port), ("/metrics", client.metrics_port)):
        status, text = client.get(path, port=port)
        assert status == 200
        assert 'wasm_service_requests_total{code="400",model="gelu",protocol="json"}' in text
        assert 'wasm_service_request_seconds_bucket{le="0.01",model="gelu"}' in text
        assert "wasm_service_ready 1.0" in text


@pytest.mark.service
def test_the_openapi_description_has_the_schemas_of_requests_and_responses(client: Client) -> None:
    _, description = client.get("/openapi.json")
    infer = description["paths"]["/v1/models/{name}/infer"]["post"]
    assert "inputs" in infer["requestBody"]["content"]["application/json"]["schema"]["properties"]
    references = [text.split('"')[0] for text in json.dumps(description).split('"$ref": "#/components/schemas/')[1:]]
    assert set(references) <= set(description["components"]["schemas"])


@pytest.mark.service
def test_the_copied_package_serves_without_portalis_and_ends_on_sigterm(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "portalis_service").symlink_to(ROOT / "nim" / "service")
    (tmp_path / "portalis_backend").symlink_to(island())
    settings = folder / "service.json"
    settings.write_text(json.dumps({"models": [{"name": "gelu", "file": "gelu.wasm"}]}))
    client = Client(free_port(), free_port(), free_port())
    ports = {"SERVICE_PORT": "1", "NIM_SERVER_PORT": str(client.port), "METRICS_PORT": str(client.metrics_port)}
    ports["NIM_GRPC_API_PORT"] = str(client.grpc_port)
    program = (
        "import runpy, sys; sys.modules['portalis'] = None; runpy.run_module('portalis_service', run_name='__main__')"
    )
    command = [sys.executable, "-c", program, str(settings)]
    process = subprocess.Popen(command, cwd=tmp_path, env=os.environ | ports, stderr=subprocess.PIPE, text=True)
    try:

        def is_live() -> bool:
            assert process.poll() is None
            with contextlib.suppress(OSError):
                return client.get("/v1/health/live")[0] == 200
            return False

        waiting.until(is_live)
        client.wait_ready()
        assert client.infer("gelu", request_of([0]))[1]["outputs"][0]["data"] == [0.0]
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=waiting.PATIENCE_S)
    assert process.returncode == 0, log
    assert "model 'gelu' is ready" in log and "Traceback" not in log
