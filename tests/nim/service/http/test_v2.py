"""The Open Inference Protocol over HTTP, asked by NVIDIA's own client and measured by perf_analyzer."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import urllib.request
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
def asks(client: Client) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{client.port}", network_timeout=PATIENCE_S) as asks:
        yield asks


def given_as(name: str, array: np.ndarray, *, binary: bool = True, kind: str = "") -> triton.InferInput:
    given = triton.InferInput(name, list(array.shape), kind or np_to_triton_dtype(array.dtype))
    return given.set_data_from_numpy(array, binary_data=binary)


@pytest.mark.service
def test_the_service_tells_of_itself(asks: triton.InferenceServerClient) -> None:
    assert asks.is_server_live() and asks.is_server_ready()
    assert asks.is_model_ready("gelu") and asks.is_model_ready("gelu", "3")
    assert not asks.is_model_ready("gelu", "4") and not asks.is_model_ready("unknown")
    told = asks.get_server_metadata()
    assert (told["name"], told["version"]) == ("shop", "1.2.3")
    assert {"binary_tensor_data", "model_configuration", "statistics", "model_repository"} == set(told["extensions"])
    index = {each["name"]: each["state"] for each in asks.get_model_repository_index()}
    assert set(EXAMPLES) <= set(index) and set(index.values()) == {"READY"}


@pytest.mark.parametrize("version", ["", "3"])
@pytest.mark.service
def test_a_model_tells_its_interface(asks: triton.InferenceServerClient, version: str) -> None:
    told = asks.get_model_metadata("softmax", version)
    assert (told["name"], told["versions"], told["platform"]) == ("softmax", ["3"], "wasm")
    assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}]
    config = asks.get_model_config("softmax", version)
    assert (config["name"], config["max_batch_size"]) == ("softmax", 64)
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1], "optional": False}]
    assert "dynamic_batching" in config


@pytest.mark.service
def test_what_http_and_grpc_tell_of_a_model_is_the_same(client: Client, asks: triton.InferenceServerClient) -> None:
    import tritonclient.grpc as triton_grpc

    with triton_grpc.InferenceServerClient(f"127.0.0.1:{client.grpc_port}") as other:
        for name in EXAMPLES:
            told = asks.get_model_metadata(name)
            found = other.get_model_metadata(name, as_json=True)
            for tensor_ in (*found["inputs"], *found["outputs"]):
                tensor_["shape"] = [int(size) for size in tensor_.get("shape", [])]
            assert told == found


@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.service
def test_an_example_answers_as_its_reference_does(
    asks: triton.InferenceServerClient, name: str, binary_in: bool, binary_out: bool
) -> None:
    example = EXAMPLES[name]
    inputs = example.inputs()
    expected = example.reference(inputs)
    given = [given_as(key, each, binary=binary_in) for key, each in inputs.items()]
    wanted = [triton.InferRequestedOutput(key, binary_data=binary_out) for key in expected]
    answer = asks.infer(name, given, outputs=wanted, request_id="7", model_version="3")
    told = answer.get_response()
    assert (told["model_name"], told["model_version"], told["id"]) == (name, "3", "7")
    assert [("data" in each) for each in told["outputs"]] == [not binary_out] * len(expected)
    rtol, atol = example.tolerances
    for key, reference in expected.items():
        found = answer.as_numpy(key)
        if reference.dtype == object:
            texts = [each if isinstance(each, bytes) else each.encode() for each in found.ravel()]
            assert texts == list(reference.ravel())
        else:
            np.testing.assert_allclose(found, reference, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.service
def test_every_type_of_numbers_travels_unchanged_as_bytes(asks: triton.InferenceServerClient, name: str) -> None:
    array = sample(name)
    values = array.view(ml_dtypes.bfloat16) if name == "BF16" else array
    answer = asks.infer(f"same_{name}", [given_as("x", values, kind=name)])
    found = answer.as_numpy("y")
    assert found.shape == (2, 3) and found.dtype == triton_to_np_dtype(name)
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "BF16"])  # the client reads no BF16 from JSON
@pytest.mark.service
def test_every_type_of_numbers_comes_unchanged_as_json(asks: triton.InferenceServerClient, name: str) -> None:
    array = sample(name)
    wanted = [triton.InferRequestedOutput("y", binary_data=False)]
    answer = asks.infer(f"same_{name}", [given_as("x", array, kind=name)], outputs=wanted)
    np.testing.assert_array_equal(answer.as_numpy("y"), array)


@pytest.mark.service
def test_large_tensors_travel_in_both_forms(asks: triton.InferenceServerClient) -> None:
    array = np.random.default_rng(3).standard_normal((4, 100_000)).astype(np.float32)
    for binary in (True, False):
        wanted = [triton.InferRequestedOutput("y", binary_data=binary)]
        answer = asks.infer("same_FP32", [given_as("x", array, binary=binary)], outputs=wanted)
        np.testing.assert_array_equal(answer.as_numpy("y"), array)


@pytest.mark.service
def test_a_tensor_without_elements_travels(asks: triton.InferenceServerClient) -> None:
    answer = asks.infer("same_FP32", [given_as("x", np.zeros((0, 3), np.float32))])
    assert answer.as_numpy("y").shape == (0, 3)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.service
def test_bodies_may_be_compressed_in_both_directions(asks: triton.InferenceServerClient, algorithm: str) -> None:
    array = np.zeros((1, 5000), np.float32)
    how = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
    answer = asks.infer("same_FP32", [given_as("x", array)], **how)
    np.testing.assert_array_equal(answer.as_numpy("y"), array)


@pytest.mark.service
def test_an_answer_is_compressed_for_who_asks_for_nothing_else(client: Client) -> None:
    body = json.dumps({"inputs": [tensor("x", np.zeros((1, 5000), np.float32))]}).encode()
    url = f"http://127.0.0.1:{client.port}/v2/models/same_FP32/infer"
    for accepted, encoding in (("gzip", "gzip"), ("gzip, deflate, br", None)):
        request = urllib.request.Request(url, body, {"Accept-Encoding": accepted})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            assert answer.headers["Content-Encoding"] == encoding
            told = answer.read()
            assert int(answer.headers["Content-Length"]) == len(told)
        assert json.loads(gzip.decompress(told) if encoding else told)["outputs"][0]["shape"] == [1, 5000]


@pytest.mark.service
def test_many_requests_at_a_time_each_get_their_own_answer(client: Client) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{client.port}", concurrency=16, network_timeout=PATIENCE_S) as asks:
        rows = [np.full((1 + i % 3, 8), i, np.float32) for i in range(200)]
        waiting = [asks.async_infer("same_FP32", [given_as("x", each)]) for each in rows]
        for row, each in zip(rows, waiting, strict=True):
            np.testing.assert_array_equal(each.get_result().as_numpy("y"), row)


@pytest.mark.service
def test_what_was_done_is_told(asks: triton.InferenceServerClient) -> None:
    before = asks.get_inference_statistics("gelu")["model_stats"][0]
    asks.infer("gelu", [given_as("x", np.zeros((5, 2), np.float32))])
    with pytest.raises(InferenceServerException):
        asks.infer("gelu", [given_as("x", np.zeros((1,) * 9, np.float32))])
    after = asks.get_inference_statistics("gelu", "3")["model_stats"][0]
    assert after["inference_count"] == before["inference_count"] + 5
    counts = [
        {key: each["inference_stats"][key]["count"] for key in ("success", "fail", "queue")} for each in (before, after)
    ]
    assert [counts[1][key] - counts[0][key] for key in ("success", "fail", "queue")] == [1, 1, 1]
    assert any(each["batch_size"] == 5 for each in after["batch_stats"])
    assert {each["name"] for each in asks.get_inference_statistics()["model_stats"]} > set(EXAMPLES)


@pytest.mark.service
def test_a_time_limit_of_a_request_is_kept(client: Client) -> None:
    request: dict[str, Any] = {"inputs": [tensor("x", np.zeros((1, 1), np.float32))], "parameters": {"timeout": 0}}
    body = json.dumps(request).encode()
    assert client.send("/v2/models/gelu/infer", body)[0] == 200
    request["parameters"]["timeout"] = 1  # a microsecond
    status, told = client.send("/v2/models/gelu/infer", json.dumps(request).encode())
    assert status == 504 and set(told) == {"error"}


@pytest.mark.alone("perf_analyzer gives its shared memory fixed names, and measures until the figures are stable")
def test_perf_analyzer_measures_the_service(client: Client, tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    data.write_text(json.dumps({"data": [{"x": {"content": [0.5] * 64, "shape": [64]}}]}))
    report = tmp_path / "report.csv"
    command = [*parts.perf_analyzer(), "-m", "softmax", "-i", "http", "-u", f"127.0.0.1:{client.port}"]
    command += ["--input-data", str(data), "-b", "1", "--concurrency-range", "4", "--request-count", "200"]
    for more in ([], ["--input-tensor-format", "json", "--output-tensor-format", "json"]):
        before = client.get("/v2/models/softmax/stats")[1]["model_stats"][0]["inference_stats"]
        done = subprocess.run(
            [*command, "-f", str(report), *more], capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (row,) = csv.DictReader(report.read_text().splitlines())
        assert float(row["Inferences/Second"]) > 0 and float(row["Server Compute Infer"]) > 0
        after = client.get("/v2/models/softmax/stats")[1]["model_stats"][0]["inference_stats"]
        assert after["success"]["count"] >= before["success"]["count"] + 200
        assert after["fail"] == before["fail"]
