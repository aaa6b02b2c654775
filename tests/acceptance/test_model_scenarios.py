"""Acceptance scenario 3 of the requirements (6.3): a model repository that a real Triton serves."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from portalis.contracts.output import Status
from portalis.examples.catalog import EXAMPLES
from portalis.pipeline import Options, run_pipeline
from portalis.spec.read import make_spec
from tests import parts
from tests.portalis.pipeline.conftest import Listening


@pytest.mark.triton
@pytest.mark.parametrize("platform", ["WasmABI", "Python"])
def test_acceptance_scenario_3_triton_model_configuration(tmp_path: Path, platform: str) -> None:
    parts.tritonserver()
    module = EXAMPLES["softmax"].module
    data = {
        "package_name": "activations",
        "package_version": "1.2.0",
        "output_directory": "out",
        "wasm_binaries": [str(module)],
        "triton_config": {
            "platform": platform,
            "inputs": [{"name": "x", "data_type": "FP32", "dims": [-1]}],
            "outputs": [{"name": "y", "data_type": "FP32", "dims": [-1]}],
        },
    }
    report = run_pipeline(
        make_spec(data, base=tmp_path, source="the spec"), Options(only=["triton"], live=True), Listening()
    )
    assert report.status is Status.Success, report.diagnostics.errors
    (model,) = report.artifacts.triton_models
    # the model repository is created
    folder = Path(model.config_pbtxt_path).parent
    assert folder == tmp_path / "out" / "triton" / model.model_name
    # config.pbtxt is generated and valid
    config = ModelConfig()
    text_format.Parse((folder / "config.pbtxt").read_text(), config)
    assert config.backend == {"WasmABI": "wasm", "Python": "python"}[platform]
    # the version's directory contains the module, and model.py if the platform is Python
    assert (folder / "1" / "model.wasm").read_bytes() == module.read_bytes()
    assert (folder / "1" / "model.py").is_file() == (platform == "Python")
    # a real server loads the model and serves a request
    assert model.validated, model.validation_report
    assert {(result.check, result.valid) for result in report.diagnostics.validation_results} == {
        ("static", True),
        ("live", True),
    }
