"""The configuration of a model: the same as that of the same module on a real Triton, except where the service differs."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton
import wasmtime

from portalis.examples.catalog import EXAMPLES
from portalis.nim.service.module_model import ModuleModel, SchedulerOptions
from portalis.nim.service.settings import ModelSettings
from portalis.nim.service.triton_config import config_document, model_config
from portalis.triton_client import load_model
from portalis.tritonserver import TritonServer
from tests.backend import guests
from tests.backend.guests import tensor
from tests.backend.triton import models
from tests.running.waiting import PATIENCE_S

SAME = '(module (func (export "same") (param $x f32) (result f32) (local.get $x)))'
LABELED = """max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [-1] }
output { name: "y" data_type: TYPE_FP32 dims: [-1] label_filename: "labels.txt" }
"""
LABELED_INTERFACE = {"inputs": [tensor("x")], "outputs": [tensor("y")], "max_batch_size": 8}
IMAGE = """max_batch_size: 64
input { name: "x" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [3, 2, 2] }
output { name: "y" data_type: TYPE_FP32 dims: [3, 2, 2] }
"""
OPTIONAL = guests.dlpack(
    models.OPTIONAL,
    inputs=[tensor("x", dims=(1,)), tensor("b", dims=(1,), optional=True)],
    outputs=[tensor("y", dims=(1,))],
)
BYTES = guests.dlpack(models.BYTES_ECHO, inputs=[tensor("x", "BYTES")], outputs=[tensor("y", "BYTES")])
SCALAR = guests.dlpack(guests.ECHO_BODY, inputs=[tensor("x", dims=())], outputs=[tensor("y", dims=())], batch=4)
MODULES: dict[str, tuple[bytes, str, dict[str, Any]]] = {
    "batches": (EXAMPLES["softmax"].module.read_bytes(), "", {}),
    "labeled": (
        bytes(wasmtime.wat2wasm(SAME)),
        LABELED,
        {"interface": LABELED_INTERFACE, "labels": {"y": "labels.txt"}},
    ),
    "image": (guests.echo(dims=(3, 2, 2), batch=64), IMAGE, {"formats": {"x": "NCHW"}}),
    "optional": (OPTIONAL, "", {}),
    "scalar": (SCALAR, "", {}),
    "bytes": (BYTES, "", {}),
    "alone": (
        EXAMPLES["softmax"].module.read_bytes(),
        models.parameters({"wasm.isolation": "request"}),
        {"isolation": "request"},
    ),
    "limited": (
        BYTES,
        models.parameters({"wasm.isolation": "request", "wasm.timeout_ms": "2500", "wasm.max_memory_bytes": "1048576"}),
        {"isolation": "request", "limits": {"timeout_s": 2.5, "max_memory_bytes": 1 << 20}},
    ),
}


def served(folder: Path, name: str) -> ModuleModel:
    """The model of the service, loaded."""
    module, _, settings = MODULES[name]
    (folder / "model.wasm").write_bytes(module)
    (folder / "labels.txt").write_bytes(b"zero\none\n")
    model = ModuleModel(
        ModelSettings(name=f"config_{name}", file="model.wasm", **settings), folder, SchedulerOptions(max_queued=17)
    )
    model.start()
    assert not model.failure
    return model


@pytest.fixture(scope="module")
def real(shared_triton: TritonServer) -> TritonServer:
    repository = shared_triton.repositories[0]
    for name, (module, config, _) in MODULES.items():
        models.write(repository, f"config_{name}", module, models.BARE + config)
        (repository / f"config_{name}" / "labels.txt").write_bytes(b"zero\none\n")
        load_model(shared_triton.grpc_url, f"config_{name}", timeout_s=PATIENCE_S)
    return shared_triton


@pytest.mark.parametrize("name", MODULES)
def test_a_configuration_is_that_of_a_real_triton(real: TritonServer, tmp_path: Path, name: str) -> None:
    url = f"http://{real.http_url}/v2/models/config_{name}/config"
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
        expected = json.load(response)
    model = served(tmp_path, name)
    try:
        config = model_config(model)
    finally:
        model.close()
    document = config_document(config)
    # the service batches by itself, and bounds the queue
    batching = document.pop("dynamic_batching", None)
    assert (batching is not None) == (expected["max_batch_size"] > 0 and name != "alone")
    if batching is not None:
        assert batching["preferred_batch_size"] == [expected["max_batch_size"]], "as Triton completes it"
        assert batching["default_queue_policy"]["max_queue_size"] == 17
    assert document == expected
    assert json.dumps({**document, "parameters": {}}) == json.dumps({**expected, "parameters": {}})
    with triton.InferenceServerClient(real.grpc_url) as client:
        message = client.get_model_config(f"config_{name}").config
    config.ClearField("dynamic_batching")
    assert config == message


def test_the_file_of_a_module_is_part_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "same.wasm").write_bytes(wasmtime.wat2wasm(SAME))
    model = ModuleModel(ModelSettings(name="same", file="same.wasm", threads=2), tmp_path, SchedulerOptions())
    model.start()
    document = config_document(model_config(model))
    model.close()
    assert document["default_model_filename"] == "same.wasm"
    assert document["parameters"] == {"wasm.threads": {"string_value": "2"}}
