"""Unit scenarios of the requirements (6.3): the THEN clause of each, checked in the generated files."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

from dockerfile_parse import DockerfileParser
from google.protobuf import text_format
from openapi_spec_validator import OpenAPIV30SpecValidator
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from portalis.contracts.output import PackagingAgentOutput, Status
from portalis.examples.catalog import EXAMPLES
from portalis.nim.dockerfile import render_dockerfile
from portalis.pipeline import Options, run_pipeline
from portalis.proto.api_models import ApiModel, ApiTensor
from portalis.proto.openapi import openapi_document, to_openapi_3_0
from portalis.spec.container import ContainerConfiguration
from portalis.spec.read import make_spec
from tests.portalis.pipeline.conftest import Listening

QUIET = dict.fromkeys(("enable_nim_packaging", "enable_omniverse_packaging", "generate_api_docs"), False)


def spec_of(folder: Path, **more: Any) -> Any:
    data = {
        "package_name": "activations",
        "package_version": "1.2.0",
        "output_directory": "out",
        "wasm_binaries": [str(EXAMPLES["softmax"].module)],
        **more,
    }
    return make_spec(data, base=folder, source="the spec")


def run_report(folder: Path, **more: Any) -> PackagingAgentOutput:
    report = run_pipeline(spec_of(folder, **QUIET, **more), Options(), Listening())
    assert report.status is Status.Success, report.diagnostics.errors
    return report


def test_unit_scenario_1_dockerfile_generation() -> None:
    config = ContainerConfiguration(
        base_image="python:3.12-slim-bookworm", environment_vars={"LOG_LEVEL": "debug"}, run_as_non_root=True
    )
    text = render_dockerfile(config, labels={}, modules=["softmax"], offline=False).text
    parser = DockerfileParser(fileobj=io.BytesIO(text.encode()))
    instructions = [(each["instruction"], each["value"]) for each in parser.structure]

    def values(name: str) -> str:
        return "\n".join(value for instruction, value in instructions if instruction == name)

    assert "python:3.12-slim-bookworm" in values("FROM")
    assert "requirements.txt" in values("RUN")  # the file pins Wasmtime with its hashes
    user = values("USER").splitlines()[-1]
    assert user.split(":")[0].isdigit() and user.split(":")[0] != "0"
    assert "/v1/health/ready" in values("HEALTHCHECK")
    assert {"8000", "8001", "9090"} <= {port.partition("/")[0] for port in values("EXPOSE").split()}
    assert "LOG_LEVEL" in values("ENV") and "debug" in values("ENV")


def test_unit_scenario_2_triton_config_generation(tmp_path: Path) -> None:
    triton = {
        "inputs": [{"name": "x", "data_type": "FP32", "dims": [4]}],
        "outputs": [{"name": "y", "data_type": "FP32", "dims": [4]}],
        "instance_groups": [{"kind": "CPU", "count": 3}],
        "version_policy": {"policy": {"Latest": 2}},
    }
    report = run_report(tmp_path, triton_config=triton, enable_distribution_archive=False)
    config = ModelConfig()
    # valid protobuf text, parsed as Triton's ModelConfig
    text_format.Parse(Path(report.artifacts.triton_models[0].config_pbtxt_path).read_text(), config)
    assert [(tensor.name, list(tensor.dims)) for tensor in config.input] == [("x", [4])]
    assert [(tensor.name, list(tensor.dims)) for tensor in config.output] == [("y", [4])]
    assert [(group.count, group.kind) for group in config.instance_group] == [(3, ModelInstanceGroup.KIND_CPU)]
    assert config.version_policy.latest.num_versions == 2


def test_unit_scenario_3_archive_creation(tmp_path: Path) -> None:
    report = run_report(tmp_path, distribution_config={"checksum_algorithms": ["SHA256", "Blake3"]})
    (archive,) = report.artifacts.distribution_archives
    path = Path(archive.archive_path)
    with tarfile.open(path) as tar:
        files = [member for member in tar.getmembers() if member.isfile()]
    assert path.stat().st_size < sum(member.size for member in files)
    names = {member.name.partition("/")[2] for member in files}
    assert {"manifest.json", "README.md", "wasm/softmax.wasm", "triton/activations_softmax/config.pbtxt"} <= names
    assert {algorithm.value for algorithm in archive.checksums} == {"SHA256", "Blake3"}
    assert all(Path(f"{path}.{ending}").is_file() for ending in ("sha256", "b3"))


def test_unit_scenario_4_openapi_generation(tmp_path: Path) -> None:
    config = {"service_port": 8123}
    tensor = ApiTensor(name="x", datatype="FP32", shape=(-1, 3))
    models = [
        ApiModel(name=name, version="1", description="", max_batch_size=1, inputs=(tensor,), outputs=(tensor,))
        for name in ("gelu", "softmax")
    ]
    api = to_openapi_3_0(openapi_document(spec_of(tmp_path, container_config=config), models))
    OpenAPIV30SpecValidator(api).validate()
    assert api["openapi"].startswith("3.0.")
    assert "get" in api["paths"]["/health"]
    for name, kind in (("gelu", "Gelu"), ("softmax", "Softmax")):
        assert "post" in api["paths"][f"/v1/models/{name}/infer"]
        assert {f"{kind}Request", f"{kind}Response"} <= set(api["components"]["schemas"])
    assert api["servers"][0]["url"] == "http://localhost:8123"
