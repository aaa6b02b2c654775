"""Invalid requests of the Open Inference Protocol are rejected with status 400 and the reason, and never break the
service."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from portalis.backend.interface.dtypes import DTYPES
from portalis.examples.catalog import EXAMPLES
from tests.nim.service.identities import NUMBERS, identities
from tests.nim.service.serving import Client, serving
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.service

LENGTH = "Inference-Header-Content-Length"
ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
TRAP = '(module (func $deep (param $x f32) (result f32) unreachable) (export "trap" (func $deep)))'


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("modules")
    models = identities(folder)
    for name in ("wordpiece", "text_filter"):
        (folder / f"{name}.wasm").write_bytes(EXAMPLES[name].module.read_bytes())
        models.append({"name": name, "file": f"{name}.wasm"})
    (folder / "trap.wasm").write_bytes(wasmtime.wat2wasm(TRAP))
    models.append({"name": "trap", "file": "trap.wasm"})
    with serving(folder, models, max_request_bytes=1 << 20) as client:
        client.wait_loaded()
        yield client


def post(client: Client, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{client.port}{path}", body, dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def status_and_error(response: tuple[int, bytes]) -> tuple[int, str]:
    """Status and message of an error response in the format of the protocol."""
    error = json.loads(response[1])
    assert set(error) == {"error"} and isinstance(error["error"], str)
    assert "Traceback" not in error["error"]
    return response[0], error["error"]


def binary(size: int = 24, data: bytes = ROWS.tobytes(), **changes: Any) -> tuple[bytes, dict[str, str]]:
    """The body and headers of a request with one binary tensor."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": size}, **changes}
    header = json.dumps({"inputs": [tensor]}).encode()
    return header + data, {LENGTH: str(len(header))}


def test_the_request_that_the_other_tests_modify_is_valid(client: Client) -> None:
    status, body = post(client, "/v2/models/same_FP32/infer", *binary())
    assert status == 200
    assert json.loads(body)["outputs"][0]["data"] == ROWS.ravel().tolist()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (binary(20), "expected 24 bytes of data for shape [2, 3], got 20"),
        (binary(data=ROWS.tobytes() + bytes(4)), "the body has 4 bytes more"),
        (binary(28), "binary_data_size is 28, but only 24 bytes are left"),
        (binary(20, ROWS.tobytes()[:20]), "expected 24 bytes of data for shape [2, 3], got 20"),
        (binary(24, b""), "only 0 bytes are left"),
        (binary(shape=[2, 2]), "expected 16 bytes of data for shape [2, 2], got 24"),
        (binary(shape=[-2, -3]), "expected at least 0, got -2"),
        (binary(shape=[1] * 33), "shape"),
        (binary(shape=[2**40, 2**40]), "too large"),
        (binary(datatype="INT32"), "has datatype 'INT32'; expected FP32"),
        (binary(name="y"), "unknown input 'y'"),
        (binary(data=ROWS.tobytes(), parameters={}), "But no field is set"),
        (
            binary(parameters={"binary_data_size": 24, "shared_memory_region": "r"}),
            "But set 'binary_data_size' 'shared_memory_region'",
        ),
        (binary(parameters={"binary_data_size": -24}), "expected at least 0, got -24"),
        (binary(parameters={"binary_data_size": "24"}), "expected an integer, got '24'"),
        (binary(parameters={"binary_data_size": 24.0}), "expected an integer, got 24.0"),
        (binary(parameters={"binary_data_size": True}), "expected an integer, got true"),
        (binary(parameters={"binary_data_size": 2**70}), "binary_data_size"),
        (binary(parameters=[24]), "expected an object, got a list"),
    ],
)
def test_inconsistent_lengths_and_shapes_are_rejected(
    client: Client, body: tuple[bytes, dict[str, str]], message: str
) -> None:
    status, text = status_and_error(post(client, "/v2/models/same_FP32/infer", *body))
    assert status == 400
    assert message in text


def test_a_tensor_with_both_data_and_binary_data_is_rejected(client: Client) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1], "parameters": {"binary_data_size": 4}}
    header = json.dumps({"inputs": [tensor]}).encode()
    body, headers = header + b"\0" * 4, {LENGTH: str(len(header))}
    status, text = status_and_error(post(client, "/v2/models/same_FP32/infer", body, headers))
    assert status == 400 and text.startswith("Input must set only one of the following fields: 'data', ")
    assert text.endswith("But set 'data' 'binary_data_size'")


@pytest.mark.parametrize("length", ["-1", "+5", "1.0", "x", "", "99999999999999999999999", "1000000", "²"])
def test_an_invalid_header_length_is_rejected(client: Client, length: str) -> None:
    status, text = status_and_error(post(client, "/v2/models/same_FP32/infer", binary()[0], {LENGTH: length}))
    assert status == 400
    assert LENGTH in text


@pytest.mark.parametrize("off", [-20, -1, 1, 4, 24])
def test_a_length_that_is_not_the_end_of_the_json_is_rejected_with_the_correct_one(client: Client, off: int) -> None:
    body, headers = binary()
    correct = int(headers[LENGTH])
    length = str(max(0, correct + off))
    status, text = status_and_error(post(client, "/v2/models/same_FP32/infer", body, {LENGTH: length}))
    assert (status, text) == (400, f"{LENGTH} is {length}, but the JSON ends after {correct} bytes")


@pytest.mark.parametrize(
    "data", [ROWS.tobytes(), bytes(24), b"\xff" * 24, b" {}" * 8], ids=["floats", "0", "255", "json"]
)
def test_bytes_after_the_json_without_the_header_are_rejected_with_its_name(client: Client, data: bytes) -> None:
    body, headers = binary(data=data)
    status, text = status_and_error(post(client, "/v2/models/same_FP32/infer", body))
    right = f"the JSON ends after {headers[LENGTH]} bytes, and 24 follow"
    assert (status, text) == (400, f"{right}: bytes after the JSON require {LENGTH}: {headers[LENGTH]}")
    for sent_headers in ({}, headers):
        status, response = post(client, "/v1/models/same_FP32/infer", body, sent_headers)
        assert status == 400
        assert f"{right}: bytes after the JSON are accepted by /v2/models/{{name}}/infer only" in response.decode()


def test_the_header_is_named_if_the_json_is_too_long_to_be_searched(client: Client) -> None:
    body, _ = binary(changes=" " * 70_000)
    status, text = status_and_error(post(client, "/v2/models/same_FP32/infer", body))
    assert status == 400 and f"bytes after the JSON require {LENGTH}" in text


@pytest.mark.parametrize("body", [b"{", b"[]x", b'{"inputs": nan}', b"\xff"])
def test_the_header_is_not_named_for_invalid_json(client: Client, body: bytes) -> None:
    assert LENGTH not in status_and_error(post(client, "/v2/models/same_FP32/infer", body))[1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x05\0\0\0hell", "the element at 0 has 5 bytes"),
        (b"\xff\xff\xff\xffhello", "the element at 0 has 4294967295 bytes"),
        (b"\x01\0", "2 bytes are left at 0"),
        (b"\0\0\0\0" * 2, "shape [1] has 1 elements, but its data has 2"),
        (b"", "shape [1] has 1 elements, but its data has 0"),
    ],
)
def test_inconsistent_lengths_of_elements_are_rejected(client: Client, data: bytes, message: str) -> None:
    request = binary(len(data), data, name="text", datatype="BYTES", shape=[1])
    status, text = status_and_error(post(client, "/v2/models/wordpiece/infer", *request))
    assert status == 400
    assert message in text


def test_a_bool_that_is_neither_0_nor_1_is_rejected(client: Client) -> None:
    request = binary(1, b"\x02", datatype="BOOL", shape=[1, 1])
    status, text = status_and_error(post(client, "/v2/models/same_BOOL/infer", *request))
    assert status == 400 and "neither 0 nor 1" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": [{"name": "z"}]}, "unknown output 'z'"),
        (
            {"outputs": [{"name": "y"}, {"name": "y", "parameters": {"binary_data": True}}]},
            "output 'y' is requested twice, in different forms",
        ),
        ({"parameters": {"sequence_id": -5}}, "Unable to parse 'sequence_id'"),
        ({"parameters": {"timeout": -1}}, "timeout"),
        ({"id": 5}, "id: expected text, got 5"),
        ({"inputs": []}, "input 'x' is missing"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [True]}]}, "element 0 is true"),
    ],
)
def test_unsupported_and_invalid_fields_are_rejected(client: Client, changes: dict[str, Any], message: str) -> None:
    good = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
    status, text = status_and_error(
        post(client, "/v2/models/same_FP32/infer", json.dumps({**good, **changes}).encode())
    )
    assert status == 400
    assert message in text


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[]", "the request: expected an object, got a list"),
        ("null", "the request: expected an object, got null"),
        ('""', "the request: expected an object, got ''"),
        ("7", "the request: expected an object, got 7"),
        ("NaN", "the request: expected an object, got NaN"),
        ("true", "the request: expected an object, got true"),
        ("{}", "inputs: it is missing"),
        ('{"inputs": null}', "inputs: expected a list, got null"),
        ('{"inputs": [null, 1, 2]}', "inputs[0]: expected an object, got null"),
        ('{"inputs": [[]], "inputs": {}}', "inputs: expected a list, got an object"),
        ('{"inputs": [], "parameters": "x"}', "parameters: expected an object, got 'x'"),
        ('{"inputs": [], "parameters": {"sequence_id": [7]}}', "Unable to parse 'sequence_id'"),
        ('{"inputs": [], "parameters": {"timeout": NaN}}', "timeout: expected an integer, got NaN"),
        ('{"inputs": [], "outputs": [{"name": null}]}', "outputs[0].name: expected text, got null"),
        ('{"inputs": ' + "[" * 900 + "]" * 900 + "}", "inputs[0]: expected an object, got a list"),
        ('{"inputs": ' + "[" * 9000 + "]" * 9000 + "}", "nested too deeply"),
    ],
)
def test_messages_name_values_by_their_json_types(client: Client, api: str, body: str, message: str) -> None:
    status, response = post(client, f"/{api}/models/same_FP32/infer", body.encode())
    text = response.decode()
    assert status == 400 and json.dumps(message)[1:-1] in text, text
    assert not any(word in text for word in ("Request", "pydantic", "None", "dict", "instance", "Traceback"))


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ("null", "null"),
        ("true", "true"),
        ('{"b64": "AA"}', "an object"),
        ("[[1]]", "a list"),
        ('"NaN"x', "not valid JSON"),
    ],
)
def test_messages_name_an_element_by_its_json_type(client: Client, element: str, message: str) -> None:
    text = f'{{"inputs":[{{"name":"text","datatype":"BYTES","shape":[1],"data":[{element}]}}]}}'
    status, text = status_and_error(post(client, "/v2/models/wordpiece/infer", text.encode()))
    assert status == 400 and (f"element 0 is {message}, not text" in text or message in text)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("rdmasharedmemory/region/a/status", "does not support shared memory over RDMA"),
        ("repository/mine/models/same_FP32/load", "'repository_name' specification is not supported"),
        ("repository/mine/index", "'repository_name' specification is not supported"),
        ("models/same_FP32/generate", "does not support the generate extension"),
        ("models/same_FP32/versions/1/generate_stream", "does not support the generate extension"),
    ],
)
def test_extensions_of_triton_that_the_service_lacks_are_rejected_with_the_reason(
    client: Client, path: str, message: str
) -> None:
    for body in (None, b"{}"):
        status, response = client.send(f"/v2/{path}", body)
        assert status == 501 and message in response["error"]
    assert client.get("/v2/models/same_FP32/ready")[0] == 200


def test_raw_outputs_are_sent_by_v2_only(client: Client) -> None:
    request = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}],
        "parameters": {"binary_data_output": True},
    }
    status, response = post(client, "/v1/models/same_FP32/infer", json.dumps(request).encode())
    assert status == 400 and "/v2/models/{name}/infer" in json.loads(response)["error"]["message"]


@pytest.mark.parametrize(
    ("path", "status", "first"),
    [
        ("", 404, "Request for unknown model: 'unknown' is not found"),
        ("/config", 404, "Request for unknown model: 'unknown' is not found"),
        ("/versions/1", 404, "Request for unknown model: 'unknown' is not found"),
        ("/ready", 400, "Model version not ready; Request for unknown model: 'unknown' is not found"),
        ("/versions/1/ready", 400, "Model version not ready; Request for unknown model: 'unknown' is not found"),
        ("/stats", 400, "requested model 'unknown' is not available"),
        ("/trace/setting", 400, "Request for unknown model : unknown"),
    ],
)
def test_an_unknown_model_is_rejected_as_on_triton_with_the_names_of_the_models(
    client: Client, path: str, status: int, first: str
) -> None:
    found, response = client.get(f"/v2/models/unknown{path}")
    assert found == status
    assert response["error"].startswith(f"{first}; the models are same_BOOL"), response


def test_an_unknown_model_or_version_of_an_inference_request_is_404(client: Client) -> None:
    for path, message in (
        ("unknown", "Request for unknown model: 'unknown' is not found; the models are same_BOOL"),
        ("unknown/versions/1", "Request for unknown model: 'unknown' is not found; the models are same_BOOL"),
        ("same_FP32/versions/2", "Request for unknown model: 'same_FP32' version 2 is not found; the version is 1"),
        ("same_FP32/versions/x", "Not Found; the version 'x' in the path is not a number"),
    ):
        status, text = status_and_error(post(client, f"/v2/models/{path}/infer", b"{}"))
        assert status == 404 and text.startswith(message), text


@pytest.mark.parametrize(
    ("version", "status", "message"),
    [
        ("2", 404, "Request for unknown model: 'same_FP32' version 2 is not found; the version is 1"),
        ("0", 404, "Request for unknown model: 'same_FP32' version 0 is not found; the version is 1"),
        ("x", 404, "Not Found; the version 'x' in the path is not a number"),
        ("-1", 404, "Not Found; the version '-1' in the path is not a number"),
        ("%D9%A1", 404, "Not Found; the version '\u0661' in the path is not a number"),
        (str(2**63), 400, "failed to get model version from specified version string '9223372036854775808'"),
        ("9" * 5000, 400, "failed to get model version from specified version string '9999"),
    ],
)
def test_an_unknown_version_is_rejected_with_the_version_of_the_model(
    client: Client, version: str, status: int, message: str
) -> None:
    for suffix in ("", "/config"):
        found, response = client.get(f"/v2/models/same_FP32/versions/{version}{suffix}")
        assert (found, response["error"][: len(message)]) == (status, message)


def test_a_version_may_have_zeros_in_front(client: Client) -> None:
    assert client.get("/v2/models/same_FP32/versions/0001/ready")[0] == 200


@pytest.mark.parametrize("path", ["/v2/", "/v2/health/live/", "/v2/models/same_FP32/", "/v1/models/"])
def test_a_slash_at_the_end_makes_another_path(client: Client, path: str) -> None:
    status, response = client.get(path)
    assert status == 404
    assert "no route for path" in str(response["error"])


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "GET"])
@pytest.mark.parametrize("api", ["v1", "v2"])
def test_other_methods_and_paths_have_errors_in_the_format_of_their_api(client: Client, api: str, method: str) -> None:
    for path, status in ((f"/{api}/models/same_FP32/infer", 405), (f"/{api}/nothing", 404)):
        request = urllib.request.Request(f"http://127.0.0.1:{client.port}{path}", method=method)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=PATIENCE_S)
        assert caught.value.code == status
        assert caught.value.headers["content-type"] == "application/json"
        body = caught.value.read()
        if method == "HEAD":
            assert body == b""
        else:
            assert isinstance(json.loads(body)["error"], str if api == "v2" else dict)


def test_a_trap_is_500_in_the_format_of_the_protocol(client: Client) -> None:
    request = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
    status, text = status_and_error(post(client, "/v2/models/trap/infer", json.dumps(request).encode()))
    assert status == 500 and "unreachable" in text
    status, response = client.get("/v2/models/trap/ready")
    assert status == 503 and "model 'trap' failed" in response["error"]
    assert client.get("/v2/health/ready")[0] == 503


def test_the_index_can_be_limited_to_ready_models(client: Client) -> None:
    status, response = post(client, "/v2/repository/index", b"")
    states = {each["name"]: each["state"] for each in json.loads(response)}
    assert status == 200 and states["trap"] == "UNAVAILABLE" and states["same_FP32"] == "READY"
    _, response = post(client, "/v2/repository/index", b'{"ready": true}')
    assert "trap" not in {each["name"] for each in json.loads(response)}
    for wrong in (b"{", b'{"ready": 1}', b"[]"):
        assert status_and_error(post(client, "/v2/repository/index", wrong))[0] == 400


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_body_with_any_bytes_changed_never_breaks_the_service(client: Client, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from((*NUMBERS, "BYTES")))
    if name == "BYTES":
        raw, head, model = b"\x02\0\0\0hi", {"name": "text", "shape": [1]}, "wordpiece"
    else:
        raw, head, model = bytes(3 * DTYPES[name].itemsize), {"name": "x", "shape": [1, 3]}, f"same_{name}"
    tensor = {**head, "datatype": name, "parameters": {"binary_data_size": len(raw)}}
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    body = bytearray(header + raw)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    length = len(header) + data.draw(st.sampled_from([0, 0, 0, -1, 1, 5, -5]))
    status, response = post(client, f"/v2/models/{model}/infer", bytes(body), {LENGTH: str(length)})
    assert status == 200 or (status == 400 and status_and_error((status, response)))
    assert client.get("/v2/health/live")[0] == 200


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_json_for_any_key_never_breaks_the_service(client: Client, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from((*NUMBERS, "BYTES")))
    tensor: dict[str, Any] = {"name": "x", "shape": [1, 2], "datatype": name, "data": [0, 1]}
    request: dict[str, Any] = {"id": "1", "inputs": [tensor], "outputs": [{"name": "y"}], "parameters": {}}
    model = f"same_{name}"
    if name == "BYTES":
        tensor |= {"name": "text", "shape": [1], "data": ["hi"], "parameters": {}}
        del request["outputs"]
        model = "wordpiece"
    target = data.draw(st.sampled_from([request, tensor]))
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(ANY)
    api = data.draw(st.sampled_from(["v1", "v2"]))
    status, response = post(client, f"/{api}/models/{model}/infer", json.dumps(request).encode())
    assert status in (200, 400), response
    assert json.loads(response)
    assert client.get("/v2/health/live")[0] == 200


@pytest.mark.service
def test_health_has_the_body_of_the_protocol(client: Client) -> None:
    assert client.get("/v2/health/live") == (200, {"live": True})


@pytest.mark.parametrize("verb", ["predict", "explain"])
@pytest.mark.service
def test_the_first_version_of_kserves_protocol_is_refused(client: Client, verb: str) -> None:
    status, document = client.send(f"/v1/models/gelu:{verb}", b'{"instances": [[1.0]]}')
    assert status == 501 and "/v2/models/{name}/infer" in document["error"]["message"]
