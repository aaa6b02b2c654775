"""The Open Inference Protocol over HTTP, with NVIDIA's client and perf_analyzer."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, triton_to_np_dtype

from portalis.examples.catalog import EXAMPLES
from tests import parts
from tests.nim.service.identities import NUMBERS, identities, sample
from tests.nim.service.serving import Client, serving, tensor
from tests.running.waiting import PATIENCE_S

LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("modules")
    models = identities(folder)
    for name, example in EXAMPLES.items():
        (folder / f"{name}.wasm").write_bytes(example.module.read_bytes())
        models.append({"name": name, "file": f"{name}.wasm", "version": "3"})
    with serving(folder, models, name="shop", version="1.2.3") as client:
        client.wait_ready()
        yield client


@pytest.fixture(scope="module")
def triton_client(client: Client) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{client.port}", network_timeout=PATIENCE_S) as triton_client:
        yield triton_client


def infer_input(name: str, array: np.ndarray, *, binary: bool = True, kind: str = "") -> triton.InferInput:
    tensor_ = triton.InferInput(name, list(array.shape), kind or np_to_triton_dtype(array.dtype))
    return tensor_.set_data_from_numpy(array, binary_data=binary)


@pytest.mark.service
def test_server_metadata_health_and_index(triton_client: triton.InferenceServerClient) -> None:
    assert triton_client.is_server_live() and triton_client.is_server_ready()
    assert triton_client.is_model_ready("gelu") and triton_client.is_model_ready("gelu", "3")
    assert not triton_client.is_model_ready("gelu", "4") and not triton_client.is_model_ready("unknown")
    metadata = triton_client.get_server_metadata()
    assert (metadata["name"], metadata["version"]) == ("shop", "1.2.3")
    assert set(metadata["extensions"]) == {
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "model_repository",
        "parameters",
        "sequence",
        "statistics",
        "system_shared_memory",
    }
    index = {each["name"]: each["state"] for each in triton_client.get_model_repository_index()}
    assert set(EXAMPLES) <= set(index) and set(index.values()) == {"READY"}


@pytest.mark.parametrize("version", ["", "3"])
@pytest.mark.service
def test_model_metadata_and_configuration(triton_client: triton.InferenceServerClient, version: str) -> None:
    metadata = triton_client.get_model_metadata("softmax", version)
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("softmax", ["3"], "wasm")
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}]
    config = triton_client.get_model_config("softmax", version)
    assert (config["name"], config["max_batch_size"]) == ("softmax", 64)
    assert [(each["name"], each["format"], each["dims"]) for each in config["input"]] == [("x", "FORMAT_NONE", [-1])]
    assert "dynamic_batching" in config


@pytest.mark.service
def test_model_metadata_is_the_same_over_http_and_grpc(
    client: Client, triton_client: triton.InferenceServerClient
) -> None:
    import tritonclient.grpc as triton_grpc

    with triton_grpc.InferenceServerClient(f"127.0.0.1:{client.grpc_port}") as grpc_client:
        for name in EXAMPLES:
            over_http = triton_client.get_model_metadata(name)
            over_grpc = grpc_client.get_model_metadata(name, as_json=True)
            for tensor_ in (*over_grpc["inputs"], *over_grpc["outputs"]):
                tensor_["shape"] = [int(size) for size in tensor_.get("shape", [])]
            assert over_http == over_grpc


@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.service
def test_an_examples_results_equal_its_reference(
    triton_client: triton.InferenceServerClient, name: str, binary_in: bool, binary_out: bool
) -> None:
    example = EXAMPLES[name]
    inputs = example.inputs()
    expected = example.reference(inputs)
    tensors = [infer_input(key, each, binary=binary_in) for key, each in inputs.items()]
    outputs = [triton.InferRequestedOutput(key, binary_data=binary_out) for key in expected]
    result = triton_client.infer(name, tensors, outputs=outputs, request_id="7", model_version="3")
    document = result.get_response()
    assert (document["model_name"], document["model_version"], document["id"]) == (name, "3", "7")
    assert [("data" in each) for each in document["outputs"]] == [not binary_out] * len(expected)
    rtol, atol = example.tolerances
    for key, reference in expected.items():
        actual = result.as_numpy(key)
        if reference.dtype == object:
            texts = [each if isinstance(each, bytes) else each.encode() for each in actual.ravel()]
            assert texts == list(reference.ravel())
        else:
            np.testing.assert_allclose(actual, reference, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.service
def test_every_numeric_type_is_unchanged_as_binary_data(triton_client: triton.InferenceServerClient, name: str) -> None:
    array = sample(name)
    values = array.view(ml_dtypes.bfloat16) if name == "BF16" else array
    result = triton_client.infer(f"same_{name}", [infer_input("x", values, kind=name)])
    actual = result.as_numpy("y")
    assert actual.shape == (2, 3) and actual.dtype == triton_to_np_dtype(name)
    np.testing.assert_array_equal(actual, values)


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "BF16"])  # the client cannot read BF16 from JSON
@pytest.mark.service
def test_every_numeric_type_is_unchanged_as_json(triton_client: triton.InferenceServerClient, name: str) -> None:
    array = sample(name)
    outputs = [triton.InferRequestedOutput("y", binary_data=False)]
    result = triton_client.infer(f"same_{name}", [infer_input("x", array, kind=name)], outputs=outputs)
    np.testing.assert_array_equal(result.as_numpy("y"), array)


@pytest.mark.service
def test_large_tensors_as_binary_data_and_as_json(triton_client: triton.InferenceServerClient) -> None:
    array = np.random.default_rng(3).standard_normal((4, 100_000)).astype(np.float32)
    for binary in (True, False):
        outputs = [triton.InferRequestedOutput("y", binary_data=binary)]
        result = triton_client.infer("same_FP32", [infer_input("x", array, binary=binary)], outputs=outputs)
        np.testing.assert_array_equal(result.as_numpy("y"), array)


@pytest.mark.service
def test_a_tensor_without_elements(triton_client: triton.InferenceServerClient) -> None:
    result = triton_client.infer("same_FP32", [infer_input("x", np.zeros((0, 3), np.float32))])
    assert result.as_numpy("y").shape == (0, 3)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.service
def test_requests_and_responses_can_be_compressed(triton_client: triton.InferenceServerClient, algorithm: str) -> None:
    array = np.zeros((1, 5000), np.float32)
    algorithms = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
    result = triton_client.infer("same_FP32", [infer_input("x", array)], **algorithms)
    np.testing.assert_array_equal(result.as_numpy("y"), array)


@pytest.mark.service
def test_concurrent_requests_each_get_their_own_result(client: Client) -> None:
    with triton.InferenceServerClient(
        f"127.0.0.1:{client.port}", concurrency=16, network_timeout=PATIENCE_S
    ) as triton_client:
        rows = [np.full((1 + i % 3, 8), i, np.float32) for i in range(200)]
        requests = [triton_client.async_infer("same_FP32", [infer_input("x", each)]) for each in rows]
        for row, each in zip(rows, requests, strict=True):
            np.testing.assert_array_equal(each.get_result().as_numpy("y"), row)


@pytest.mark.service
def test_statistics_count_requests_rows_and_failures(triton_client: triton.InferenceServerClient) -> None:
    before = triton_client.get_inference_statistics("gelu")["model_stats"][0]
    triton_client.infer("gelu", [infer_input("x", np.zeros((5, 2), np.float32))])
    with pytest.raises(InferenceServerException):
        triton_client.infer("gelu", [infer_input("x", np.zeros((1,) * 9, np.float32))])
    after = triton_client.get_inference_statistics("gelu", "3")["model_stats"][0]
    assert after["inference_count"] == before["inference_count"] + 5
    counts = [
        {key: each["inference_stats"][key]["count"] for key in ("success", "fail", "queue")} for each in (before, after)
    ]
    assert [counts[1][key] - counts[0][key] for key in ("success", "fail", "queue")] == [1, 1, 1]
    assert any(each["batch_size"] == 5 for each in after["batch_stats"])
    assert {each["name"] for each in triton_client.get_inference_statistics()["model_stats"]} > set(EXAMPLES)


@pytest.mark.service
def test_the_timeout_of_a_request_is_enforced(client: Client) -> None:
    request: dict[str, Any] = {"inputs": [tensor("x", np.zeros((1, 1), np.float32))], "parameters": {"timeout": 0}}
    body = json.dumps(request).encode()
    assert client.send("/v2/models/gelu/infer", body)[0] == 200
    request["parameters"]["timeout"] = 1  # a microsecond
    status, document = client.send("/v2/models/gelu/infer", json.dumps(request).encode())
    assert status == 504 and set(document) == {"error"}


@pytest.mark.alone("perf_analyzer gives its shared memory fixed names, and measures until the figures are stable")
def test_perf_analyzer_measures_the_service(client: Client, tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    data.write_text(json.dumps({"data": [{"x": {"content": [0.5] * 64, "shape": [64]}}]}))
    report = tmp_path / "report.csv"
    command = [*parts.perf_analyzer(), "-m", "softmax", "-i", "http", "-u", f"127.0.0.1:{client.port}"]
    command += ["--input-data", str(data), "-b", "1", "--concurrency-range", "4", "--request-count", "200"]
    for options in ([], ["--input-tensor-format", "json", "--output-tensor-format", "json"]):
        before = client.get("/v2/models/softmax/stats")[1]["model_stats"][0]["inference_stats"]
        done = subprocess.run(
            [*command, "-f", str(report), *options], capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (row,) = csv.DictReader(report.read_text().splitlines())
        assert float(row["Inferences/Second"]) > 0 and float(row["Server Compute Infer"]) > 0
        after = client.get("/v2/models/softmax/stats")[1]["model_stats"][0]["inference_stats"]
        assert after["success"]["count"] >= before["success"]["count"] + 200
        assert after["fail"] == before["fail"]
