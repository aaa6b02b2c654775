"""The same package, served by a real Triton and by the service: their responses to the same requests are equal."""

from __future__ import annotations

import functools
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.utils.shared_memory as shm
from tritonclient import grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from portalis.nim.ensembles_of_spec import ensembles_of_spec
from portalis.pipeline import Options, run_pipeline
from portalis.tritonserver import TritonServer
from tests.model_repository_gen.jobs import Silent
from tests.nim.service.serving import serving
from tests.running import waiting
from tests.running.waiting import PATIENCE_S

from .package import LABELED, MODULES, ensembles, package

pytestmark = [pytest.mark.triton, pytest.mark.service]
NAMES = [each["name"] for each in ensembles()]
# written into each response of an ensemble by Triton, once for each output, although no request belongs to a sequence
SEQUENCE = {"sequence_id": 0, "sequence_start": False, "sequence_end": False}


class Both:
    """The ports of Triton and of the service, HTTP and gRPC."""

    def __init__(self, http: tuple[int, int], grpc: tuple[int, int]) -> None:
        self.http, self.grpc = http, grpc

    def get(self, path: str) -> list[Any]:
        return [_send(port, path, None)[1] for port in self.http]

    def infer(self, model: str, *inputs: Any, **fields: Any) -> list[tuple[int, Any]]:
        body = json.dumps({"inputs": inputs, **fields}).encode()
        return [_send(port, f"/v2/models/{model}/infer", body) for port in self.http]


def _send(port: int, path: str, body: bytes | None) -> tuple[int, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, wasm_backends: Path) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("package")
    spec = package(folder)
    made = run_pipeline(spec, Options(only=("triton",)), Silent())
    assert not made.diagnostics.errors
    served = ensembles_of_spec(spec, list(MODULES))
    assert not served.skipped
    for name, path in served.label_files.items():
        (folder / name).symlink_to(path)
    models = [
        {"name": name, "file": f"{name}.wasm", "labels": {"y": "labels.txt"} if name == LABELED else {}}
        for name in MODULES
    ]
    with (
        serving(folder, models, ensembles=[each.model_dump() for each in served.settings]) as client,
        TritonServer(folder / "out" / "triton", backend_directory=wasm_backends, start_timeout_s=PATIENCE_S) as triton,
    ):
        client.wait_ready()
        yield Both((triton.ports.http, client.port), (triton.ports.grpc, client.grpc_port))


def tensor(name: str, shape: list[int], *data: float) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": shape, "data": data}


def row(*data: float, name: str = "x") -> dict[str, Any]:
    return tensor(name, [1, len(data)], *data)


@pytest.mark.parametrize("name", NAMES)
def test_metadata_and_configurations_are_equal(both: Both, name: str) -> None:
    theirs, ours = both.get(f"/v2/models/{name}")
    assert ours == theirs
    theirs, ours = both.get(f"/v2/models/{name}/config")
    for each in ours["output"]:
        if each["label_filename"]:  # models share a directory in the service
            each["label_filename"] = "labels.txt"
    assert ours == theirs


GOOD: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "a chain": ("chain", (row(1, 2), row(3, 4, name="w")), {}),
    "rows": ("chain", (tensor("x", [2, 2], 1, 2, 3, 4), tensor("w", [2, 2], 5, 6, 7, 8)), {"id": "abc"}),
    "a fan-out": ("fan", (row(1, 2),), {"outputs": [{"name": "s"}, {"name": "r"}]}),
    "one output, whose step does not fail": ("fan", (row(-1, 2),), {"outputs": [{"name": "r"}]}),
    "a join": ("diamond", (row(1, 2),), {}),
    "an ensemble in an ensemble": ("nested", (tensor("x", [3, 2], 1, 2, 3, 4, 5, 6),), {}),
    "a step without batches": ("strip", (row(1, 2),), {}),
    "an ensemble without batches": ("plain", (tensor("x", [2], 1, 2),), {}),
    "a batch of one": ("single", (tensor("x", [3], 1, 2, 3),), {}),
    "a scalar": ("total", (tensor("x", [2, 3], 1, 2, 3, 4, 5, 6),), {}),
    "text": ("tokens", ({"name": "text", "datatype": "BYTES", "shape": [2], "data": ["Hello, world", "größe"]},), {}),
    "reshapes": ("reshaped", (tensor("x", [2, 3, 1], 1, 2, 3, 4, 5, 6),), {}),
    "without the optional input": ("optional", (row(1, 2),), {}),
    "with the optional input": ("optional", (row(1, 2), row(3, 4, name="w")), {}),
    "classes with labels": ("fan", (row(1, 2),), {"outputs": [{"name": "r", "parameters": {"classification": 2}}]}),
    "classes with the labels of a step": (
        "chain",
        (row(1, 2), row(3, 4, name="w")),
        {"outputs": [{"name": "y", "parameters": {"classification": 1}}]},
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_responses_are_equal(both: Both, case: str) -> None:
    model, inputs, fields = GOOD[case]
    (status, theirs), ours = both.infer(model, *inputs, **fields)
    assert theirs.pop("parameters") == SEQUENCE
    if "outputs" not in fields:  # Triton has no order of outputs then
        for document in (theirs, ours[1]):
            document["outputs"].sort(key=lambda output: str(output["name"]))
    assert ours == (status, theirs) and status == 200


BAD: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "a step fails": ("failing", (row(-1, 2),), {}),
    "a step of a step fails": ("around", (row(-1, 2),), {}),
    "one of two concurrent steps fails": ("fan", (row(-1, 2),), {}),
    "a step gets shapes that do not match": ("chain", (row(1, 2), row(1, 2, 3, name="w")), {}),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_of_steps_have_tritons_status_and_text_and_name_the_step(both: Both, case: str) -> None:
    model, inputs, fields = BAD[case]
    (status, theirs), (our_status, ours) = both.infer(model, *inputs, **fields)
    assert (status, our_status) == (400, 400)
    text, _, step = ours["error"].rpartition("; in ")
    assert text == theirs["error"] and step.startswith("step ")


REJECTED: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "an input is missing": ("chain", (row(1, 2),), {}),
    "an unknown input": ("chain", (row(1, 2), row(3, 4, name="v")), {}),
    "too many rows": ("chain", (tensor("x", [9, 1], *[1] * 9), tensor("w", [9, 1], *[1] * 9)), {}),
    "different rows": ("chain", (row(1, 2), tensor("w", [2, 2], 1, 2, 3, 4)), {}),
    "no batch dimension": ("chain", (tensor("x", [2], 1, 2), tensor("w", [2], 1, 2)), {}),
    "a size that is not declared": ("single", (tensor("x", [2], 1, 2),), {}),
    "more rows than a step without batches accepts": ("strip", (tensor("x", [2, 2], 1, 2, 3, 4),), {}),
    "an unknown output": ("fan", (row(1, 2),), {"outputs": [{"name": "nope"}]}),
}


MISFITS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "a step rejects the shape": ("late", (row(1, 2),), {}),
    "with the id of the request": ("late", (row(1, 2),), {"id": "abc"}),
    "a step of a step rejects the shape": ("around_late", (row(1, 2),), {}),
    "a step without batches rejects several rows": ("strip", (tensor("x", [2, 2], 1, 2, 3, 4),), {}),
}


@pytest.mark.parametrize("case", MISFITS)
def test_tensors_that_a_step_rejects_have_tritons_text(both: Both, case: str) -> None:
    model, inputs, fields = MISFITS[case]
    (status, theirs), (our_status, ours) = both.infer(model, *inputs, **fields)
    assert (our_status, ours["error"].partition(" (")[0]) == (status, theirs["error"])


@pytest.mark.parametrize("case", REJECTED)
def test_requests_that_triton_rejects_are_rejected(both: Both, case: str) -> None:
    model, inputs, fields = REJECTED[case]
    (status, theirs), (our_status, ours) = both.infer(model, *inputs, **fields)
    assert (status, our_status) == (400, 400)
    assert ours["error"].startswith("in ensemble") == theirs["error"].startswith("in ensemble")


def test_grpc_serves_ensembles_and_their_configuration(both: Both) -> None:
    found = []
    x, w = np.array([[1, 2], [3, 4]], np.float32), np.ones((2, 2), np.float32)
    for port in both.grpc:
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
            inputs = [triton_grpc.InferInput(name, [2, 2], "FP32") for name in "xw"]
            for each, array in zip(inputs, (x, w)):
                each.set_data_from_numpy(array)
            outputs = client.infer("chain", inputs).as_numpy("y")
            config = client.get_model_config("chain", as_json=True)["config"]
            found.append((outputs.tolist(), config["ensemble_scheduling"], config["platform"]))
    assert found[0] == found[1] and found[0][0] == [[1.5, 2.0], [2.5, 3.0]]


def test_statistics_count_the_requests_of_an_ensemble_and_of_an_ensemble_in_it(both: Both) -> None:
    def documents(model: str) -> list[Any]:
        return [each["model_stats"][0] for each in both.get(f"/v2/models/{model}/stats")]

    def counts(model: str) -> list[tuple[int, int, int]]:
        return [
            (each["inference_count"], each["execution_count"], each["inference_stats"]["success"]["count"])
            for each in documents(model)
        ]

    def counted() -> list[Any]:
        return [counts(model) for model in ("counted", "inside")]

    assert both.infer("counted", tensor("x", [3, 1], 1, 2, 3))[1][0] == 200
    # Triton counts a request after it has sent the response
    waiting.until(lambda: counted() == [[(3, 1, 1)] * 2] * 2, counted)
    for model in ("counted", "inside"):
        for document in documents(model):
            times = {name: each["ns"] for name, each in document["inference_stats"].items()}
            assert 0 < times["compute_infer"] < times["success"]
            (batch,) = document["batch_stats"]
            assert (batch["batch_size"], batch["compute_infer"]) == (3, {"count": 1, "ns": times["compute_infer"]})


def _unregister(client: triton_grpc.InferenceServerClient, region: str) -> bool:
    try:
        client.unregister_system_shared_memory(region)
    except InferenceServerException as error:
        if "it is currently in use" not in str(error):
            raise
        return False
    return True


def test_inputs_and_outputs_of_an_ensemble_can_be_in_shared_memory(both: Both) -> None:
    x, w = np.array([[1, 2], [3, 4]], np.float32), np.ones((2, 2), np.float32)
    found = []
    for port in both.grpc:
        name = f"portalis-ensemble-{port}"
        region = shm.create_shared_memory_region(name, f"/{name}", 3 * x.nbytes)
        try:
            shm.set_shared_memory_region(region, [x, w])
            with triton_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
                client.register_system_shared_memory(name, f"/{name}", 3 * x.nbytes)
                inputs = [triton_grpc.InferInput(each, [2, 2], "FP32") for each in "xw"]
                for i, each in enumerate(inputs):
                    each.set_shared_memory(name, x.nbytes, i * x.nbytes)
                output = triton_grpc.InferRequestedOutput("y")
                output.set_shared_memory(name, x.nbytes, 2 * x.nbytes)
                client.infer("chain", inputs, outputs=[output])
                # Triton releases the region after it has sent the response
                waiting.until(functools.partial(_unregister, client, name), every_s=0.02)
            found.append(shm.get_contents_as_numpy(region, np.float32, [2, 2], offset=2 * x.nbytes).tolist())
        finally:
            shm.destroy_shared_memory_region(region)
    assert found == [[[1.5, 2.0], [2.5, 3.0]]] * 2
