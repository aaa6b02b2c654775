"""Packages on a real Triton, through the pipeline: the report on each model, and the models' outputs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portalis.contracts.artifacts import TritonModelArtifact
from portalis.contracts.output import PackagingAgentOutput, Status
from portalis.model_repository_gen.live import validate_on_triton
from portalis.proto.api_models import ApiModel, ApiTensor
from portalis.proto.example_request import example_request
from portalis.proto.guides import _grpc_call
from portalis.triton_client import RemoteModel
from portalis.tritonserver import TritonServer
from tests.model_repository_gen import jobs
from tests.model_repository_gen.jobs import REPOSITORY
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.triton
F32 = np.float32
SEQUENCES = {
    "control_inputs": [
        {"name": "START", "control_type": "Start", "data_type": "FP32"},
        {"name": "END", "control_type": "End", "data_type": "BOOL"},
        {"name": "ID", "control_type": "CorrelationId"},
    ],
    "oldest": {"max_candidate_sequences": 4},
    # by default, Triton ends a sequence after one second without a request
    "max_sequence_idle_microseconds": int(PATIENCE_S * 1e6),
}
KEPT_STATE = {"backend_parameters": {"wasm.isolation": "instance"}}
# a custom python-based backend, which reads the module that the package put next to it
CUSTOM_PY = """
import json
from pathlib import Path
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        path = Path(args["model_repository"], args["model_version"], "model.wasm")
        self.size = path.stat().st_size
        self.scale = json.loads(args["model_config"])["parameters"].get("scale", {}).get("string_value", "1")

    def execute(self, requests):
        answer = np.array([self.size, float(self.scale)], np.float32)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", answer)]) for _ in requests]
"""


def chain() -> dict[str, Any]:
    """x to 2x (echo, then x + x), and to a scaled copy by another module in an inner ensemble."""
    tensor = {"data_type": "FP32", "dims": [-1]}
    inner = {
        "name": "inner",
        "max_batch_size": 8,
        "inputs": [{"name": "a", **tensor}],
        "outputs": [{"name": "b", **tensor}],
        "steps": [{"model_name": "demo_add", "input_map": {"a": "a", "b": "a"}, "output_map": {"y": "b"}}],
    }
    steps = [
        {"model_name": "echo", "input_map": {"x": "in"}, "output_map": {"y": "mid"}},
        {"model_name": "inner", "input_map": {"a": "mid"}, "output_map": {"b": "out"}},
    ]
    outer = {"inputs": [{"name": "in", **tensor}], "outputs": [{"name": "out", **tensor}], "steps": steps}
    return {"ensembles": [inner, {"name": "chain", "max_batch_size": 8, **outer}]}


def sequence_module() -> dict[str, Any]:
    return {"path": "sequence", "triton_config": {"sequence_batching": SEQUENCES, **KEPT_STATE}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("package")


@pytest.fixture(scope="module")
def first(folder: Path, wasm_backends: Path) -> PackagingAgentOutput:
    """A package with every feature, validated on a server."""
    (folder / "x.raw").write_bytes(np.array([[7]], np.int32).tobytes())
    warm = {"name": "w", "inputs": {"x": {"data_type": "INT32", "dims": [1], "input_data_file": "x.raw"}}}
    random = {"name": "r", "inputs": {"x": {"data_type": "INT32", "dims": [1], "random_data": True}}}
    spec = jobs.make(
        folder,
        "add",
        "echo",
        "opaque",
        {"path": "unbatched", "triton_config": {"platform": "Python"}},
        {"path": "invert", "triton_config": {"max_batch_size": 1}},
        {"path": "invert", "name": "warmed", "triton_config": {"warmup": [warm]}},
        {"path": "invert", "name": "random", "triton_config": {"warmup": [random]}},
        {"path": "echo", "triton_config": {"model_name": "größe-模型"}, "name": "strange"},
        {"path": "echo", "name": "elsewhere", "triton_config": {"instance_groups": [{"kind": "GPU", "gpus": [99]}]}},
        sequence_module(),
        **chain(),
    )
    return jobs.run(spec, live=True)


@pytest.fixture(scope="module")
def models(first: PackagingAgentOutput) -> dict[str, TritonModelArtifact]:
    return {model.model_name: model for model in first.artifacts.triton_models}


@pytest.mark.parametrize(
    "name",
    [
        *("demo_add", "demo_echo", "demo_unbatched", "demo_warmed", "demo_random", "demo_sequence", "größe-模型"),
        *("inner", "chain"),
    ],
)
def test_a_model_that_returns_outputs_is_validated(models: dict[str, TritonModelArtifact], name: str) -> None:
    assert models[name].validated, models[name].validation_report
    static, live = (models[name].validation_report or "").splitlines()
    assert static == "static: config.pbtxt is readable, its files exist, and Triton's rules are met"
    assert live.startswith("live: version 1 loads and returns ")


def test_a_module_that_traps_on_zeros_is_reported_as_not_validated(
    first: PackagingAgentOutput, models: dict[str, TritonModelArtifact]
) -> None:
    assert not models["demo_invert"].validated
    report = models["demo_invert"].validation_report or ""
    assert (
        "live: version 1 loads but returns an error: entry 'invert': the guest trapped: integer divide by zero"
        in report
    )
    assert "; it was sent x INT32 [1, 1] of zeros" in report
    error = first.diagnostics.errors[1]
    assert "model 'demo_invert' is not valid on a real Triton server" in error.message
    assert error.remediation is not None
    assert "triton_config.warmup" in error.remediation.summary


def test_a_model_that_triton_rejects_is_not_validated(models: dict[str, TritonModelArtifact]) -> None:
    assert not models["demo_elsewhere"].validated
    assert "live: it did not load: " in (models["demo_elsewhere"].validation_report or "")
    assert "invalid or unsupported gpu id 99" in (models["demo_elsewhere"].validation_report or "")


def test_the_others_are_a_partial_success(first: PackagingAgentOutput, folder: Path) -> None:
    assert first.status is Status.PartialSuccess
    failed = [error.message.split("'")[1] for error in first.diagnostics.errors]
    assert failed == ["demo_opaque", "demo_invert", "demo_elsewhere"]
    assert not list(folder.glob(".out*"))  # no other files next to the output
    assert ".staging-" not in first.model_dump_json()


# -- the second run: another version in addition to the first, and all models on one server ---------------------------------


@pytest.fixture(scope="module")
def second(folder: Path, first: PackagingAgentOutput) -> PackagingAgentOutput:
    """Version 2 of two models, one of which serves both versions."""
    both = {"version_policy": {"policy": "All"}}
    spec = jobs.make(
        folder,
        {"path": "add", "triton_config": both},
        "echo",
        {"path": "unbatched", "triton_config": {"platform": "Python", **both}},
        {"path": "opaque", "triton_config": custom()},
        sequence_module(),
        model_version=2,
        keep_versions=True,
        **chain(),
    )
    return jobs.run(spec)


def custom() -> dict[str, Any]:
    outputs = [{"name": "y", "data_type": "FP32", "dims": [2]}]
    inputs = [{"name": "x", "data_type": "FP32", "dims": [1]}]
    parameters = {"backend_parameters": {"scale": "2.5"}}
    return {"platform": {"Custom": "mine"}, "inputs": inputs, "outputs": outputs, **parameters}


@pytest.fixture(scope="module")
def server(
    folder: Path, second: PackagingAgentOutput, wasm_backends: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    backends = tmp_path_factory.mktemp("both") / "backends"
    shutil.copytree(wasm_backends, backends, symlinks=True)
    add_custom(backends)
    repository = folder / "out" / REPOSITORY
    with TritonServer(repository, backend_directory=backends, start_timeout_s=PATIENCE_S) as triton:
        yield triton


def add_custom(backends: Path) -> None:
    (backends / "mine").mkdir()
    (backends / "mine" / "model.py").write_text(CUSTOM_PY)


def ask(server: TritonServer, name: str, version_: str = "", **inputs: np.ndarray) -> list[Any]:
    with RemoteModel(server.grpc_url, name, version=version_, timeout_s=PATIENCE_S) as model:
        (array,) = model.infer(inputs).outputs.values()
    answer: list[Any] = array.tolist()
    return answer


def test_both_versions_return_outputs_if_the_policy_serves_them(server: TritonServer) -> None:
    x = np.array([[1.5, 2]], F32)
    assert [ask(server, "demo_add", version, a=x, b=x) for version in "12"] == [[[3.0, 4.0]]] * 2
    assert [ask(server, "demo_unbatched", version, x=x[0]) for version in "12"] == [[1.5, 2.0]] * 2


def test_a_kept_version_that_is_not_served_is_a_warning(
    second: PackagingAgentOutput, server: TritonServer, folder: Path
) -> None:
    reported = [warning.message for warning in second.diagnostics.warnings]
    expected = [
        f"version 1 of model 'demo_{name}' is in the repository, but its version policy does not serve it"
        for name in ("echo", "sequence")
    ]
    assert reported == expected
    assert second.status is Status.Success
    assert (folder / "out" / REPOSITORY / "demo_echo/1/model.wasm").is_file()
    x = np.zeros((1, 1), F32)
    assert ask(server, "demo_echo", "2", x=x) == [[0.0]]
    with pytest.raises(Exception, match="is not found|not found|unknown model|not ready"):
        ask(server, "demo_echo", "1", x=x)


def test_an_ensemble_of_packaged_modules_returns_the_right_numbers(server: TritonServer) -> None:
    assert ask(server, "chain", "", **{"in": np.array([[1, -2.5], [3, 4]], F32)}) == [[2.0, -5.0], [6.0, 8.0]]


def test_a_custom_backend_serves_the_model(server: TritonServer) -> None:
    size = len(jobs.MODULES["opaque"])
    assert ask(server, "demo_opaque", x=np.zeros(1, F32)) == [size, 2.5]


def test_controls_pass_the_state_of_the_sequence_to_a_module(server: TritonServer) -> None:
    import tritonclient.grpc as grpc

    client = grpc.InferenceServerClient(server.grpc_url)

    def send(value: float, sequence: int, *, start: bool = False, end: bool = False) -> list[float]:
        tensor = grpc.InferInput("x", [1], "FP32")
        tensor.set_data_from_numpy(np.array([value], F32))
        options = {"sequence_id": sequence, "sequence_start": start, "sequence_end": end}
        answer: list[float] = client.infer("demo_sequence", [tensor], **options).as_numpy("y").tolist()
        return answer

    # the sum since START, the id, and whether this is the end
    assert send(1, 42, start=True) == [1, 42, 0]
    assert send(2, 42) == [3, 42, 0]
    assert send(4, 42, end=True) == [7, 42, 1]
    assert send(5, 43, start=True, end=True) == [5, 43, 1]


def test_the_guides_call_for_a_sequence_works(server: TritonServer) -> None:
    x = ApiTensor(name="x", datatype="FP32", shape=(1,))
    y = ApiTensor(name="y", datatype="FP32", shape=(3,))
    model = ApiModel(
        name="demo_sequence", version="2", description="", max_batch_size=0, inputs=(x,), outputs=(y,), sequence_id=1
    )
    program = _grpc_call(model).replace("localhost:8001", server.grpc_url)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "y [0.5 1.  1. ]\n"), done.stderr
    body = json.dumps(example_request(model)).encode()
    with urllib.request.urlopen(f"http://{server.http_url}/v2/models/demo_sequence/infer", body) as answer:
        assert json.load(answer)["outputs"][0]["data"] == [0.5, 1.0, 1.0]


def test_a_python_model_needs_only_tritons_own_backend(
    folder: Path, server: TritonServer, wasm_backends: Path, tmp_path: Path
) -> None:
    backends, lines = tmp_path / "backends", list[str]()
    shutil.copytree(wasm_backends / "python", backends / "python")
    add_custom(backends)
    repository = folder / "out" / REPOSITORY
    found = validate_on_triton(
        repository, ["demo_unbatched", "demo_opaque", "demo_echo"], lines.append, backends=backends
    )
    assert [result.valid for result in found] == [True, True, False]
    own, mine, wasm = (result.report for result in found)
    assert [text.split(" in ")[0] for text in own.split("; ")] == [
        f"version {n} loads and returns y [1]" for n in (1, 2)
    ]
    assert mine.startswith("version 2 loads and returns y [2] in ")
    assert wasm.startswith("it did not load: ")
    assert "unable to find backend library for backend 'wasm'" in wasm
    assert lines == ["validated model demo_unbatched on Triton", "validated model demo_opaque on Triton"]
