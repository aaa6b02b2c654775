"""The forms of requests and responses over HTTP as Triton has them: raw binary requests, classes, compression, types."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

from portalis.examples.catalog import EXAMPLES
from tests.backend import guests
from tests.nim.service.identities import identities
from tests.nim.service.serving import Client, serving
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.service
LENGTH = "inference-header-content-length"
ROW = np.array([0.5, 3, 1.25], np.float32)
REQUEST: dict[str, Any] = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": ROW.tolist()}]}
LIMIT = 1 << 20


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("modules")
    models = identities(folder)
    (folder / "labels.txt").write_bytes(b"zero\n\ntw\xc3\xb6\n")
    for model in models:
        model["interface"]["max_batch_size"] = 8
        model["labels"] = {"y": "labels.txt"}
    (folder / "wordpiece.wasm").write_bytes(EXAMPLES["wordpiece"].module.read_bytes())
    models.append({"name": "wordpiece", "file": "wordpiece.wasm"})
    x, y = (guests.tensor(name, dims=()) for name in "xy")
    (folder / "scalar.wasm").write_bytes(guests.dlpack(guests.ECHO_BODY, inputs=[x], outputs=[y], batch=4))
    models.append({"name": "scalar", "file": "scalar.wasm", "labels": {"y": "labels.txt"}})
    with serving(folder, models, max_request_bytes=LIMIT) as client:
        client.wait_ready()
        yield client


Answer = tuple[int, http.client.HTTPMessage, bytes]


def post(
    client: Client, body: bytes, headers: Mapping[str, str] = {}, model: str = "same_FP32", api: str = "v2"
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=PATIENCE_S)
    try:
        connection.request("POST", f"/{api}/models/{model}/infer", body, dict(headers))
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def infer(client: Client, headers: Mapping[str, str] = {}, model: str = "same_FP32", **changes: Any) -> Answer:
    return post(client, json.dumps({**REQUEST, **changes}).encode(), headers, model)


def test_a_raw_binary_request_gets_raw_outputs(client: Client) -> None:
    status, headers, body = post(client, ROW.tobytes(), {LENGTH: "0", "content-type": "application/octet-stream"})
    size = int(headers[LENGTH])
    assert (status, headers["content-type"]) == (200, "application/octet-stream")
    assert body[:size] == (
        b'{"model_name":"same_FP32","model_version":"1","outputs":[{"name":"y","datatype":"FP32","shape":[1,3],'
        b'"parameters":{"binary_data_size":12}}]}'
    )
    assert body[size:] == ROW.tobytes()


def test_a_raw_binary_request_can_be_compressed_and_large(client: Client) -> None:
    values = np.arange(200_000, dtype=np.float32)
    headers = {LENGTH: "0", "content-encoding": "gzip", "accept-encoding": "deflate"}
    status, received, body = post(client, gzip.compress(values.tobytes(), 1), headers)
    assert (status, received["content-encoding"]) == (200, "deflate")
    assert zlib.decompress(body)[int(received[LENGTH]) :] == values.tobytes()
    status, _, body = post(client, gzip.compress(bytes(LIMIT + 4)), headers)
    assert status == 413 and b"exceeds the limit" in body


def test_the_client_library_reads_the_response_to_a_raw_binary_request(client: Client) -> None:
    _, headers, body = post(client, ROW.tobytes(), {LENGTH: "0"})
    result = triton.InferenceServerClient.parse_response_body(body, header_length=int(headers[LENGTH]))
    np.testing.assert_array_equal(result.as_numpy("y"), ROW[None])


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ("-1", "inference header size should be in range (0, 12), got: -1"),
        ("13", "inference header size should be in range (0, 12), got: 13"),
        ("99999999999", "inference header size should be in range (0, 12), got: 99999999999"),
        ("4294967296", "inference header size should be in range (0, 12), got: 4294967296"),
        ("abc", "Unable to parse Inference-Header-Content-Length, got: 'abc'"),
        ("0x0", "Unable to parse Inference-Header-Content-Length, got: '0x0'"),
        ("9" * 5000, "Unable to parse Inference-Header-Content-Length, got: '9999"),
    ],
)
def test_an_invalid_length_of_the_json_is_rejected(client: Client, length: str, message: str) -> None:
    status, _, body = post(client, ROW.tobytes(), {LENGTH: length})
    assert status == 400 and json.loads(body)["error"].startswith(message) and len(body) < 500


@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream", "text/plain", "bogus", ""])
def test_any_content_type_is_accepted(client: Client, kind: str) -> None:
    status, headers, body = infer(client, {"content-type": kind})
    assert (status, headers["content-type"], headers[LENGTH]) == (200, "application/json", None)
    assert list(json.loads(body)) == ["model_name", "model_version", "outputs"]


def test_the_id_comes_first_and_an_empty_one_is_omitted(client: Client) -> None:
    assert list(json.loads(infer(client, id="7")[2])) == ["id", "model_name", "model_version", "outputs"]
    assert "id" not in json.loads(infer(client, id="")[2])


@pytest.mark.parametrize(
    ("changes", "binary"),
    [
        ({}, False),
        ({"parameters": {"binary_data_output": True}}, True),
        ({"parameters": {"binary_data_output": True}, "outputs": []}, True),
        ({"parameters": {"binary_data_output": True}, "outputs": [{"name": "y"}]}, False),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": True}}]}, True),
    ],
)
def test_outputs_are_raw_bytes_only_where_requested(client: Client, changes: dict[str, Any], binary: bool) -> None:
    status, headers, _ = infer(client, **changes)
    assert status == 200 and (headers[LENGTH] is not None) is binary


def test_outputs_without_data_need_no_header(client: Client) -> None:
    empty = [{"name": "x", "datatype": "FP32", "shape": [1, 0], "data": []}]
    _, headers, body = infer(client, inputs=empty, parameters={"binary_data_output": True})
    assert (headers["content-type"], headers[LENGTH]) == ("application/json", None)
    assert json.loads(body)["outputs"][0]["parameters"] == {"binary_data_size": 0}


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_a_scalar_is_a_vector_of_one_element_as_in_triton(client: Client, shape: list[int]) -> None:
    inputs = [{"name": "x", "datatype": "FP32", "shape": shape, "data": [1.5, 2]}]
    output = json.loads(infer(client, model="scalar", inputs=inputs)[2])["outputs"][0]
    assert (output["shape"], output["data"]) == ([2, 1], [1.5, 2])
    outputs = [{"name": "y", "parameters": {"classification": 5}}]
    output = json.loads(infer(client, model="scalar", inputs=inputs, outputs=outputs)[2])["outputs"][0]
    assert (output["shape"], output["data"]) == ([2, 1], ["1.500000:0:zero", "2.000000:0:zero"])
    raw = post(client, ROW[:1].tobytes(), {LENGTH: "0"}, "scalar")[2]
    assert raw.endswith(ROW[:1].tobytes()) and b'"shape":[1,1]' in raw
    assert client.get("/v2/models/scalar")[1]["inputs"][0]["shape"] == [-1, 1]


def classes(client: Client, count: Any, model: str = "same_FP32", **parameters: Any) -> Answer:
    outputs = [{"name": "y", "parameters": {"classification": count, **parameters}}]
    data = ROW.tolist() if model == "same_FP32" else [1, 3, 2]
    inputs = [{"name": "x", "datatype": model.removeprefix("same_"), "shape": [1, 3], "data": data}]
    return infer(client, model=model, outputs=outputs, inputs=inputs)


@pytest.mark.parametrize("count", [3, 4, 2**31, 2**63, 2**64 - 1])
def test_classes_are_values_indices_and_labels(client: Client, count: int) -> None:
    status, _, body = classes(client, count)
    assert status == 200
    output = {
        "name": "y",
        "datatype": "BYTES",
        "shape": [1, 3],
        "data": ["3.000000:1", "1.250000:2:twö", "0.500000:0:zero"],
    }
    assert json.loads(body)["outputs"] == [output]


def test_classes_can_be_raw_bytes(client: Client) -> None:
    status, headers, body = classes(client, 1, "same_INT64", binary_data=True)
    assert status == 200 and body[int(headers[LENGTH]) :] == b"\x03\0\0\0" + b"3:1"
    assert json.loads(body[: int(headers[LENGTH])])["outputs"][0] == {
        "name": "y", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": 7}
    }  # fmt: skip


def test_no_classes_are_the_tensor_itself(client: Client) -> None:
    assert json.loads(classes(client, 0)[2])["outputs"][0]["data"] == ROW.tolist()


@pytest.mark.parametrize("count", [-1, 2**64, 1.5, "2", True])
def test_a_number_of_classes_that_is_no_count_is_rejected(client: Client, count: Any) -> None:
    status, _, body = classes(client, count)
    assert status == 400 and b"classification" in body


def test_a_data_type_without_classes_is_rejected(client: Client) -> None:
    status, _, body = classes(client, 2, "same_FP16")
    assert status == 400
    assert b"class result not available for output due to unsupported type 'FP16'" in body


def test_large_requests_get_classes_too(client: Client) -> None:
    values = np.arange(100_000, dtype=np.float32)
    inputs = [{"name": "x", "datatype": "FP32", "shape": [1, values.size], "data": values.tolist()}]
    outputs = [{"name": "y", "parameters": {"classification": 2}}]
    body = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
    assert len(body) > 1 << 18
    status, _, answer = post(client, body)
    assert status == 200 and json.loads(answer)["outputs"][0]["data"] == ["99999.000000:99999", "99998.000000:99998"]


def test_every_element_of_a_large_tensor_can_be_a_class(client: Client) -> None:
    tensor = {"name": "x", "datatype": "UINT8", "shape": [8, 100_000], "parameters": {"binary_data_size": 800_000}}
    outputs = [{"name": "y", "parameters": {"classification": 2**40}}]
    text = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    status, _, body = post(client, text + bytes(800_000), {LENGTH: str(len(text))}, "same_UINT8")
    output = json.loads(body)["outputs"][0]
    assert status == 200 and output["shape"] == [8, 100_000]
    assert output["data"][0] == "0:0:zero" and output["data"][-1] == "0:99999"


def test_the_client_library_gets_classes(client: Client) -> None:
    array = np.stack([ROW, ROW[::-1]])
    with triton.InferenceServerClient(f"127.0.0.1:{client.port}", network_timeout=PATIENCE_S) as triton_client:
        request = triton.InferInput("x", [2, 3], "FP32").set_data_from_numpy(array)
        result = triton_client.infer("same_FP32", [request], outputs=[triton.InferRequestedOutput("y", class_count=2)])
    assert result.as_numpy("y").tolist() == [
        [b"3.000000:1", "1.250000:2:twö".encode()],
        [b"3.000000:1", b"1.250000:0:zero"],
    ]


def test_an_unknown_encoding_is_501_as_in_triton(client: Client) -> None:
    for encoding in ("br", "gzip, deflate", "zstd"):
        status, headers, body = infer(client, {"content-encoding": encoding})
        assert (status, headers["accept-encoding"]) == (501, "gzip, deflate")
        assert json.loads(body)["error"].startswith("Unsupported compression type")
    assert infer(client, {"content-encoding": "identity"})[0] == 200
    assert infer(client, {"content-encoding": ""})[0] == 200


def test_an_empty_body_cannot_be_decompressed(client: Client) -> None:
    status, _, body = post(client, b"", {"content-encoding": "gzip"})
    assert status == 400 and json.loads(body)["error"].startswith("nothing to be decompressed")


@pytest.mark.parametrize(
    ("accepted", "encoding"), [("gzip, deflate, br", "gzip"), ("gzip;q=0.1, deflate", "deflate"), ("*", None)]
)
def test_a_response_is_compressed_as_triton_does(client: Client, accepted: str, encoding: str | None) -> None:
    changes: dict[str, Any] = {"parameters": {"binary_data_output": True}}
    status, headers, body = infer(client, {"accept-encoding": accepted}, **changes)
    assert (status, headers["content-encoding"], headers["content-type"]) == (200, encoding, "application/octet-stream")
    assert int(headers["content-length"]) == len(body)
    plain = body if encoding is None else zlib.decompress(body, 47)
    assert plain[int(headers[LENGTH]) :] == ROW.tobytes()


def test_under_v1_a_response_is_compressed_only_if_nothing_else_is_accepted(client: Client) -> None:
    body = json.dumps(REQUEST).encode()
    for accepted, encoding in (("gzip", "gzip"), ("gzip, deflate, br", None)):
        _, headers, _ = post(client, body, {"accept-encoding": accepted}, api="v1")
        assert headers["content-encoding"] == encoding
