"""Scripts of sequence requests, over HTTP, gRPC and a gRPC stream: the service answers as a real Triton does."""

from __future__ import annotations

import json
import queue
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from portalis.triton_client import load_model
from portalis.tritonserver import TritonServer
from tests.backend.triton import models
from tests.nim.service.serving import Client, serving
from tests.running.waiting import PATIENCE_S

from .stateful import sequences, sum_module

pytestmark = pytest.mark.service
CONTROLS = """
  control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] } }
  control_input { name: "END" control { kind: CONTROL_SEQUENCE_END bool_false_true: [false, true] } }
  control_input { name: "READY" control { kind: CONTROL_SEQUENCE_READY fp32_false_true: [0, 1] } }
  control_input { name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }
"""
OLDEST = "oldest { max_candidate_sequences: 3 }"
MODELS: dict[str, tuple[int, str, dict[str, Any]]] = {
    "sums": (0, "max_sequence_idle_microseconds: 60000000", {}),
    "batched": (4, "max_sequence_idle_microseconds: 60000000", {}),
    "oldest": (
        4,
        f"max_sequence_idle_microseconds: 60000000 {OLDEST}",
        {"oldest": {"max_candidate_sequences": 3}},
    ),
    "direct": (
        4,
        "max_sequence_idle_microseconds: 60000000 direct { minimum_slot_utilization: 0.5 }",
        {"direct": {"minimum_slot_utilization": 0.5}},
    ),
    "idle": (0, "max_sequence_idle_microseconds: 300000", {"max_sequence_idle_microseconds": 300_000}),
}
Request = tuple[Any, float, str]
# each request: the sequence's id, x, and flags: S for the start, E for the end; without flags none is sent
SCRIPTS: dict[str, list[Request]] = {
    "a sequence": [(5, 1, "S"), (5, 2, ""), (5, 3, "-"), (5, 4, "E")],
    "one request": [(5, 1, "SE"), (5, 1, "SE")],
    "no start": [(6, 1, ""), (6, 1, "E"), (6, 1, "SE")],
    "after the end": [(6, 1, "S"), (6, 1, "E"), (6, 1, "")],
    "a second start": [(6, 1, "S"), (6, 2, ""), (6, 4, "S"), (6, 8, "E")],
    "no id": [(0, 1, "S"), ("", 1, "S"), (None, 1, ""), (None, 1, "S")],
    "the largest id": [(2**63 - 1, 1, "S"), (2**63 - 1, 2, "E")],
    "one after the other": [(7, 1, "S"), (7, 1, "E"), (8, 5, "S"), (8, 1, "E")],
}


@pytest.fixture(scope="module")
def real(shared_triton: TritonServer) -> TritonServer:
    repository = shared_triton.repositories[0]
    for name, (batch, batching, _) in MODELS.items():
        config = f"sequence_batching {{ {batching} {CONTROLS} }}" + models.parameters({"wasm.isolation": "instance"})
        models.write(repository, f"seq_{name}", sum_module(batch), models.BARE + config)
        load_model(shared_triton.grpc_url, f"seq_{name}", timeout_s=PATIENCE_S)
    return shared_triton


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("sequences")
    served = []
    for name, (batch, _, changes) in MODELS.items():
        file = f"seq_{name}.wasm"
        (folder / file).write_bytes(sum_module(batch))
        settings = {"isolation": "instance", "sequence_batching": sequences(**changes)}
        served.append({"name": f"seq_{name}", "file": file, **settings})
    with serving(folder, served) as client:
        client.wait_ready()
        yield client


def over_http(url: str, model: str, script: list[Request], shape: tuple[int, ...] = (1,)) -> list[Any]:
    return [_post(url, model, _document(request, shape)) for request in script]


def _document(request: Request, shape: tuple[int, ...], **changes: Any) -> dict[str, Any]:
    sequence, value, flags = request
    parameters = {} if sequence is None else {"sequence_id": sequence}
    if flags:
        parameters |= {"sequence_start": "S" in flags, "sequence_end": "E" in flags}
    data = [value] * int(np.prod(shape))
    inputs = [{"name": "x", "datatype": "FP32", "shape": list(shape), "data": data}]
    return {"inputs": inputs, "parameters": parameters, **changes}


def _post(url: str, model: str, document: dict[str, Any]) -> Any:
    request = urllib.request.Request(f"http://{url}/v2/models/{model}/infer", data=json.dumps(document).encode())
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return json.load(response, parse_float=lambda text: float(np.float32(text)))  # the texts of numbers differ
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]


def _inputs(value: float) -> list[Any]:
    x = triton.InferInput("x", [1], "FP32")
    x.set_data_from_numpy(np.array([value], np.float32))
    return [x]


def _options(request: Request) -> dict[str, Any]:
    sequence, _, flags = request
    return {"sequence_id": sequence or 0, "sequence_start": "S" in flags, "sequence_end": "E" in flags}


def _answer(result: Any, error: Any) -> Any:
    return (error.status(), error.message()) if error is not None else result.as_numpy("y").tolist()


def over_grpc(url: str, model: str, script: list[Request]) -> list[Any]:
    answers = []
    with triton.InferenceServerClient(url) as client:
        for request in script:
            result, failed = None, None
            try:
                result = client.infer(model, _inputs(request[1]), **_options(request))
            except InferenceServerException as error:
                failed = error
            answers.append(_answer(result, failed))
    return answers


def over_a_stream(url: str, model: str, script: list[Request]) -> list[Any]:
    done: queue.Queue[Any] = queue.Queue()
    with triton.InferenceServerClient(url) as client:
        client.start_stream(lambda result, error: done.put(_answer(result, error)))
        for request in script:
            client.async_stream_infer(model, _inputs(request[1]), **_options(request))
        return [done.get(timeout=PATIENCE_S) for _ in script]


@pytest.mark.triton
@pytest.mark.parametrize("script", SCRIPTS)
def test_answers_are_those_of_a_real_triton(real: TritonServer, client: Client, script: str) -> None:
    requests = SCRIPTS[script]
    for send, theirs, port in (
        (over_http, real.http_url, client.port),
        (over_grpc, real.grpc_url, client.grpc_port),
        (over_a_stream, real.grpc_url, client.grpc_port),
    ):
        if send is over_a_stream and any(not sequence for sequence, _, _ in requests):
            continue  # errors and responses of different sequences have no order
        expected = send(theirs, "seq_sums", requests)
        assert send(f"127.0.0.1:{port}", "seq_sums", requests) == expected, send.__name__
        if script == "a sequence" and send is not over_http:
            assert [answer[0] for answer in expected] == [1, 3, 6, 10]


INVALID: dict[str, tuple[str, dict[str, Any]]] = {
    "two rows": ("seq_batched", _document((5, 1, "S"), (2, 1))),
    "a negative id": ("seq_sums", {**_document((-1, 1, "S"), (1,))}),
    "a fraction": ("seq_sums", _document((1.5, 1, "S"), (1,))),
    "a list": ("seq_sums", _document(([1], 1, "S"), (1,))),
    "a start that is a number": ("seq_sums", {**_document((1, 1, ""), (1,)), "parameters": {"sequence_start": 1}}),
    "an end that is a text": ("seq_sums", {**_document((1, 1, ""), (1,)), "parameters": {"sequence_end": "yes"}}),
}


@pytest.mark.triton
@pytest.mark.parametrize("case", INVALID)
def test_invalid_parameters_are_rejected_as_by_triton(real: TritonServer, client: Client, case: str) -> None:
    model, document = INVALID[case]
    status, message = _post(real.http_url, model, document)
    assert status == 400 or "Unable to parse" in message  # which is a fault of the client, not 500 as in Triton
    ours, text = _post(f"127.0.0.1:{client.port}", model, document)
    assert (ours, text[: len(message)]) == (400, message)


@pytest.mark.triton
@pytest.mark.parametrize("name", MODELS)
def test_configuration_and_metadata_are_tritons(real: TritonServer, client: Client, name: str) -> None:
    def read(url: str, path: str) -> Any:
        with urllib.request.urlopen(f"http://{url}/v2/models/seq_{name}{path}", timeout=PATIENCE_S) as response:
            return json.load(response)

    own = f"127.0.0.1:{client.port}"
    assert read(own, "") == read(real.http_url, "")
    ours, theirs = read(own, "/config"), read(real.http_url, "/config")
    assert ours["sequence_batching"] == theirs["sequence_batching"]
    assert ours["input"] == theirs["input"]
    assert "dynamic_batching" not in ours


@pytest.mark.triton
def test_an_idle_sequence_ends_as_in_triton(real: TritonServer, client: Client) -> None:
    script: list[Request] = [(1, 1, "S"), (2, 5, "SE"), (1, 1, "")]  # the second waits until the first has ended
    expected = over_grpc(real.grpc_url, "seq_idle", script)
    assert over_grpc(f"127.0.0.1:{client.grpc_port}", "seq_idle", script) == expected
    assert "START flag" in expected[2][1]


def test_a_large_request_keeps_its_sequence(client: Client) -> None:
    url = f"127.0.0.1:{client.port}"
    large = {"comment": "x" * (1 << 19)}  # decoded in a separate process
    values = [
        _post(url, "seq_sums", _document((9, value, flags), (1,), **large))["outputs"][0]["data"][0]
        for value, flags in ((1, "S"), (2, ""), (4, "E"))
    ]
    assert values == [1, 3, 7]


@pytest.mark.parametrize(
    ("sequence", "message"),
    [("abc", "sequence_id of a request to model 'seq_sums' is a text"), ("x" * (1 << 20), "more than 128 bytes")],
)
def test_a_text_that_the_module_cannot_receive_is_rejected(client: Client, sequence: str, message: str) -> None:
    status, text = _post(f"127.0.0.1:{client.port}", "seq_sums", _document((sequence, 1, "S"), (1,)))
    assert (status, message in text) == (400, True)


def test_requests_of_sequences_are_counted(client: Client) -> None:
    before = client.get("/v2/models/seq_batched/stats")[1]["model_stats"][0]["inference_count"]
    over_http(f"127.0.0.1:{client.port}", "seq_batched", [(1, 1, "S"), (1, 1, "E")], (1, 1))
    assert client.get("/v2/models/seq_batched/stats")[1]["model_stats"][0]["inference_count"] == before + 2
