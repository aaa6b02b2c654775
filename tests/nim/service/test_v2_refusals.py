"""Whatever is wrong with a request of the Open Inference Protocol, it is refused with 400 and the reason, and the
service lives."""

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

from portalis.backend.dtypes import DTYPES
from portalis.examples.catalog import EXAMPLES
from tests.running.waiting import PATIENCE_S

from .identities import NUMBERS, identities
from .serving import Client, serving

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


def ask(client: Client, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{client.port}{path}", body, dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


def told(answer: tuple[int, bytes]) -> tuple[int, str]:
    """Status and text of an error, which has the protocol's form."""
    error = json.loads(answer[1])
    assert set(error) == {"error"} and isinstance(error["error"], str)
    assert "Traceback" not in error["error"]
    return answer[0], error["error"]


def binary(size: int = 24, data: bytes = ROWS.tobytes(), **changes: Any) -> tuple[bytes, dict[str, str]]:
    """A request with one binary tensor, and its headers."""
    given = {"name": "x", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": size}, **changes}
    head = json.dumps({"inputs": [given]}).encode()
    return head + data, {LENGTH: str(len(head))}


def test_what_all_refusals_differ_from_is_answered(client: Client) -> None:
    status, body = ask(client, "/v2/models/same_FP32/infer", *binary())
    assert status == 200
    assert json.loads(body)["outputs"][0]["data"] == ROWS.ravel().tolist()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (binary(20), "shape [2, 3] needs 24 bytes of data, not 20"),
        (binary(data=ROWS.tobytes() + bytes(4)), "the body has 4 bytes more"),
        (binary(28), "binary_data_size is 28, but only 24 bytes are left"),
        (binary(20, ROWS.tobytes()[:20]), "shape [2, 3] needs 24 bytes of data, not 20"),
        (binary(24, b""), "only 0 bytes are left"),
        (binary(shape=[2, 2]), "shape [2, 2] needs 16 bytes of data, not 24"),
        (binary(shape=[-2, -3]), "greater than or equal to 0"),
        (binary(shape=[1] * 33), "shape"),
        (binary(shape=[2**40, 2**40]), "too large"),
        (binary(datatype="INT32"), "has datatype 'INT32'; the model takes FP32"),
        (binary(name="y"), "there is no input 'y'"),
        (binary(data=ROWS.tobytes(), parameters={}), "neither data nor binary_data_size"),
        (binary(parameters={"binary_data_size": 24, "shared_memory_region": "r"}), "shared memory"),
        (binary(parameters={"binary_data_size": -24}), "greater than or equal to 0"),
        (binary(parameters={"binary_data_size": "24"}), "valid integer"),
        (binary(parameters={"binary_data_size": 24.0}), "valid integer"),
        (binary(parameters={"binary_data_size": True}), "valid integer"),
        (binary(parameters={"binary_data_size": 2**70}), "binary_data_size"),
        (binary(parameters=[24]), "valid dictionary"),
    ],
)
def test_lying_lengths_and_shapes_are_refused(client: Client, body: tuple[bytes, dict[str, str]], words: str) -> None:
    status, text = told(ask(client, "/v2/models/same_FP32/infer", *body))
    assert status == 400
    assert words in text


def test_a_tensor_with_data_twice_is_refused(client: Client) -> None:
    given = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1], "parameters": {"binary_data_size": 4}}
    head = json.dumps({"inputs": [given]}).encode()
    status, text = told(ask(client, "/v2/models/same_FP32/infer", head + b"\0" * 4, {LENGTH: str(len(head))}))
    assert (status, text) == (400, "input 'x' has both data and binary_data_size")


@pytest.mark.parametrize("length", ["-1", "+5", "1.0", "x", "", "99999999999999999999999", "1000000", "²"])
def test_a_length_that_is_none_is_refused(client: Client, length: str) -> None:
    status, text = told(ask(client, "/v2/models/same_FP32/infer", binary()[0], {LENGTH: length}))
    assert status == 400
    assert LENGTH in text


@pytest.mark.parametrize("length", ["0", "1", "20", "200"])
def test_a_length_beside_the_end_of_the_json_is_refused(client: Client, length: str) -> None:
    status, text = told(ask(client, "/v2/models/same_FP32/infer", binary(data=bytes(200))[0], {LENGTH: length}))
    assert status == 400
    assert "the request is no JSON" in text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x05\0\0\0hell", "the element at 0 has 5 bytes"),
        (b"\xff\xff\xff\xffhello", "the element at 0 has 4294967295 bytes"),
        (b"\x01\0", "2 bytes are left at 0"),
        (b"\0\0\0\0" * 2, "shape [1] has 1 elements, its data have 2"),
        (b"", "shape [1] has 1 elements, its data have 0"),
    ],
)
def test_lying_lengths_of_elements_are_refused(client: Client, data: bytes, words: str) -> None:
    request = binary(len(data), data, name="text", datatype="BYTES", shape=[1])
    status, text = told(ask(client, "/v2/models/wordpiece/infer", *request))
    assert status == 400
    assert words in text


def test_a_bool_that_is_neither_0_nor_1_is_refused(client: Client) -> None:
    request = binary(1, b"\x02", datatype="BOOL", shape=[1, 1])
    status, text = told(ask(client, "/v2/models/same_BOOL/infer", *request))
    assert status == 400 and "neither 0 nor 1" in text


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"outputs": [{"name": "z"}]}, "there is no output 'z'"),
        ({"outputs": [{"name": "y"}, {"name": "y"}]}, "output 'y' is asked for twice"),
        ({"outputs": [{"name": "y", "parameters": {"classification": 3}}]}, "no classification"),
        ({"outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]}, "shared memory"),
        ({"parameters": {"sequence_id": 5}}, "sequence_id"),
        ({"parameters": {"timeout": -1}}, "timeout"),
        ({"id": 5}, "id: Input should be a valid string"),
        ({"inputs": []}, "input 'x' is missing"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [True]}]}, "element 0 is true"),
    ],
)
def test_what_a_request_may_not_say_is_refused(client: Client, more: dict[str, Any], words: str) -> None:
    good = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
    status, text = told(ask(client, "/v2/models/same_FP32/infer", json.dumps({**good, **more}).encode()))
    assert status == 400
    assert words in text


def test_raw_outputs_are_sent_by_v2_only(client: Client) -> None:
    request = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}],
        "parameters": {"binary_data_output": True},
    }
    status, answer = ask(client, "/v1/models/same_FP32/infer", json.dumps(request).encode())
    assert status == 400 and "/v2/models/{name}/infer" in json.loads(answer)["error"]["message"]


@pytest.mark.parametrize("path", ["", "/ready", "/config", "/stats", "/versions/1", "/versions/1/ready"])
def test_an_unknown_model_is_refused_with_400_and_the_known_ones(client: Client, path: str) -> None:
    status, answer = client.get(f"/v2/models/unknown{path}")
    assert status == 400
    assert "there is no model 'unknown'; there are same_BOOL" in answer["error"]
    status, text = told(ask(client, f"/v2/models/unknown{'/versions/1' if 'versions' in path else ''}/infer", b"{}"))
    assert status == 400 and "there is no model 'unknown'" in text


def test_an_unknown_version_is_refused_with_400_and_the_known_one(client: Client) -> None:
    for path in ("/v2/models/same_FP32/versions/2", "/v2/models/same_FP32/versions/2/config"):
        assert client.get(path) == (400, {"error": "model 'same_FP32' has version 1, not '2'"})
    status, text = told(ask(client, "/v2/models/same_FP32/versions/2/infer", b"{}"))
    assert (status, text) == (400, "model 'same_FP32' has version 1, not '2'")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "GET"])
@pytest.mark.parametrize("api", ["v1", "v2"])
def test_other_methods_and_paths_have_errors_in_the_form_of_their_api(client: Client, api: str, method: str) -> None:
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


def test_a_trap_is_500_in_the_form_of_the_protocol(client: Client) -> None:
    request = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
    status, text = told(ask(client, "/v2/models/trap/infer", json.dumps(request).encode()))
    assert status == 500 and "unreachable" in text
    status, answer = client.get("/v2/models/trap/ready")
    assert status == 503 and "model 'trap' failed" in answer["error"]
    assert client.get("/v2/health/ready")[0] == 503


def test_the_index_may_be_of_ready_models_only(client: Client) -> None:
    status, answer = ask(client, "/v2/repository/index", b"")
    states = {each["name"]: each["state"] for each in json.loads(answer)}
    assert status == 200 and states["trap"] == "UNAVAILABLE" and states["same_FP32"] == "READY"
    _, answer = ask(client, "/v2/repository/index", b'{"ready": true}')
    assert "trap" not in {each["name"] for each in json.loads(answer)}
    for wrong in (b"{", b'{"ready": 1}', b"[]"):
        assert told(ask(client, "/v2/repository/index", wrong))[0] == 400


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_body_with_any_bytes_changed_is_answered_or_refused_and_the_service_lives(
    client: Client, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from((*NUMBERS, "BYTES")))
    if name == "BYTES":
        raw, given, model = b"\x02\0\0\0hi", {"name": "text", "shape": [1]}, "wordpiece"
    else:
        raw, given, model = bytes(3 * DTYPES[name].itemsize), {"name": "x", "shape": [1, 3]}, f"same_{name}"
    tensor = {**given, "datatype": name, "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    body = bytearray(head + raw)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    length = len(head) + data.draw(st.sampled_from([0, 0, 0, -1, 1, 5, -5]))
    status, answer = ask(client, f"/v2/models/{model}/infer", bytes(body), {LENGTH: str(length)})
    assert status == 200 or (status == 400 and told((status, answer)))
    assert client.get("/v2/health/live")[0] == 200


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_json_in_any_place_is_answered_or_refused_and_the_service_lives(
    client: Client, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from((*NUMBERS, "BYTES")))
    tensor: dict[str, Any] = {"name": "x", "shape": [1, 2], "datatype": name, "data": [0, 1]}
    request: dict[str, Any] = {"id": "1", "inputs": [tensor], "outputs": [{"name": "y"}], "parameters": {}}
    model = f"same_{name}"
    if name == "BYTES":
        tensor |= {"name": "text", "shape": [1], "data": ["hi"], "parameters": {}}
        del request["outputs"]
        model = "wordpiece"
    place = data.draw(st.sampled_from([request, tensor]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(ANY)
    api = data.draw(st.sampled_from(["v1", "v2"]))
    status, answer = ask(client, f"/{api}/models/{model}/infer", json.dumps(request).encode())
    assert status in (200, 400), answer
    assert json.loads(answer)
    assert client.get("/v2/health/live")[0] == 200
