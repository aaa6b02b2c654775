"""Ensembles over HTTP: management endpoints, metrics, large requests, time limits, and clients that disconnect."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import wasmtime

from tests.nim.service.serving import Client, serving, tensor
from tests.running import waiting

from .package import HALF, ensemble, one, step

pytestmark = pytest.mark.service
# negative numbers never end
WAIT = """(module (func (export "wait") (param $x f32) (result f32)
  (loop $again (br_if $again (f32.lt (local.get $x) (f32.const 0)))) (local.get $x)))"""
LIMIT_S = 1
CHAIN = ensemble("chain", "x", "y", one("wait", y="t"), one("half", "t"))
# the type of the model is FP32
MISFIT: dict[str, Any] = ensemble("integers", "x", "y", one("half"))
MISFIT["inputs"][0]["data_type"] = MISFIT["outputs"][0]["data_type"] = "INT32"
OUTER = ensemble("outer", "x", "y", step("integers", {"x": "x"}, {"y": "y"}))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("modules")
    for name, text in (("wait", WAIT), ("half", HALF)):
        (folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(text))
    models: list[dict[str, Any]] = [
        {"name": "wait", "file": "wait.wasm", "limits": {"timeout_s": LIMIT_S}},
        {"name": "half", "file": "half.wasm"},
    ]
    chain = {**CHAIN, "labels": {"y": "labels.txt"}}
    (folder / "labels.txt").write_text("one\ntwo\n")
    with serving(folder, models, ensembles=[OUTER, MISFIT, chain], max_response_bytes=8 << 20) as client:
        client.wait_loaded()
        yield client


def request(*values: float, **fields: Any) -> dict[str, Any]:
    return {"inputs": [tensor("x", np.array([values], np.float32))], **fields}


def infer(client: Client, document: dict[str, Any]) -> tuple[int, Any]:
    return client.send("/v2/models/chain/infer", json.dumps(document).encode())


def test_the_index_has_ensembles_and_the_reasons_why_they_failed(client: Client) -> None:
    _, found = client.send("/v2/repository/index", b"")
    states = {model["name"]: (model["state"], model.get("reason", "")) for model in found}
    assert states["chain"] == ("READY", "") and list(states) == ["chain", "half", "integers", "outer", "wait"]
    state, reason = states["integers"]
    assert (
        state == "UNAVAILABLE"
        and "tensor x: inconsistent data type: TYPE_INT32 is inferred from model integers" in reason
    )
    assert states["outer"] == ("UNAVAILABLE", f"model 'integers' failed: {reason}")
    status, document = client.get("/v1/health/ready")
    assert status == 503 and "model 'outer' failed" in document["error"]["message"]
    status, document = client.send("/v2/models/outer/infer", json.dumps(request(1)).encode())
    assert status == 503 and "model 'outer' failed" in document["error"]
    assert infer(client, request(1))[0] == 200


def test_metadata_and_manifest_have_the_ensembles_and_their_steps(client: Client) -> None:
    _, metadata = client.get("/v1/metadata")
    (chain,) = [model for model in metadata["models"] if model["name"] == "chain"]
    assert (chain["convention"], chain["sha256"], chain["max_batch_size"]) == ("ensemble", "", 8)
    assert [model["shortName"] for model in metadata["modelInfo"]] == ["wait", "half"]
    _, manifest = client.get("/v1/manifest")
    assert [model["name"] for model in manifest["models"]] == ["wait", "half"]
    (found,) = [each for each in manifest["ensembles"] if each["name"] == "chain"]
    assert found["steps"][1] == {
        "model_name": "half",
        "model_version": -1,
        "input_map": {"x": "t"},
        "output_map": {"y": "y"},
    }
    assert json.loads(manifest["manifest_file"])["ensembles"] == manifest["ensembles"]
    assert [card["id"] for card in client.get("/v1/models")[1]["data"]] == [
        "wait",
        "half",
        "integers",
        "chain",
        "outer",
    ]


def test_requests_are_counted_for_the_ensemble_and_batches_for_its_models(client: Client) -> None:
    names = [
        'wasm_service_requests_total{code="200",model="chain",protocol="v2"}',
        'wasm_service_batch_rows_sum{model="wait"}',
        'wasm_service_batch_rows_sum{model="half"}',
        'wasm_service_requests_total{code="200",model="half",protocol="v2"}',
    ]
    before = [client.metric(name) for name in names]
    assert infer(client, request(1, 2))[1]["outputs"][0]["data"] == [0.5, 1.0]
    assert [client.metric(name) - count for name, count in zip(names, before)] == [1, 1, 1, 0]


def test_a_request_that_is_decoded_in_a_process_is_served(client: Client) -> None:
    values = np.arange(100_000, dtype=np.float32)
    status, found = infer(client, {"inputs": [tensor("x", values[np.newaxis])]})
    assert status == 200 and np.array_equal(found["outputs"][0]["data"], values / 2)
    assert len(json.dumps(found)) > 1 << 18


def test_classes_have_the_labels_of_the_ensemble(client: Client) -> None:
    outputs = [{"name": "y", "parameters": {"classification": 1}}]
    assert infer(client, request(1, 8, outputs=outputs))[1]["outputs"][0]["data"] == ["4.000000:1:two"]


def test_the_outputs_of_a_step_are_limited(client: Client) -> None:
    values = np.zeros((1, 3 << 20), np.float32)
    body = json.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "datatype": "FP32",
                    "shape": values.shape,
                    "parameters": {"binary_data_size": values.nbytes},
                }
            ]
        }
    ).encode()
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        head = f"POST /v2/models/chain/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nInference-Header-Content-Length: {len(body)}"
        connection.sendall(f"{head}\r\nContent-Length: {len(body) + values.nbytes}\r\n\r\n".encode() + body)
        connection.sendall(values.tobytes())
        response = connection.makefile("rb").read()
    assert response.startswith(b"HTTP/1.1 500")
    assert b"outputs have 12582912 bytes, more than the 8388608 of a response" in response
    assert b"in ensemble 'chain'" in response and b"; in step 0, model 'wait'" in response


def test_the_time_limits_of_a_request_apply_to_its_steps(client: Client) -> None:
    for parameters, message in (
        ({"timeout": 50_000}, "time limit"),
        ({"wasm.timeout_ms": 50}, "time limit of 0.05 s"),
    ):
        status, document = infer(client, request(-1, parameters=parameters))
        assert status == 504 and message in document["error"]
        assert (
            document["error"].startswith("in ensemble 'chain', ") and "; in step 0, model 'wait'" in document["error"]
        )


def test_no_further_step_starts_after_the_client_has_disconnected(client: Client) -> None:
    disconnected, batches = 'wasm_service_requests_total{code="499"', 'wasm_service_batch_requests_count{model="%s"}'
    before = [client.metric(name) for name in (disconnected, batches % "half", batches % "wait")]
    content = json.dumps(request(-1)).encode()
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        head = f"POST /v2/models/chain/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)
        waiting.until(lambda: client.metric(batches % "wait") == before[2] + 1)
    waiting.until(lambda: client.metric(disconnected) == before[0] + 1)
    assert client.metric("wasm_service_active_requests") == 0
    assert infer(client, request(1))[0] == 200  # after the time limit of the guest
    assert client.metric(batches % "half") == before[1] + 1
