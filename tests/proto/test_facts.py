"""Documents describe images and models as they were built."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from portalis.contracts.output import Artifacts
from portalis.deploy import deployment_target as deploy
from portalis.engines.engine_commands import build_command
from portalis.nim.build_plan import unservable
from portalis.proto import documentation_target as target
from portalis.proto.api_models import is_in_image
from portalis.spec.container import ContainerConfiguration, ContainerRuntime, VolumeMount, WasmRuntime
from portalis.spec.model_tensors import DataType
from portalis.spec.package_spec import ApiDocFormat, ModuleInterface, WasmBinaryPath
from portalis.spec.scheduling import ControlInput, ControlType, SequenceBatchingConfig
from portalis.spec.triton import TritonConfiguration

from .jobs import job, of, wasm
from .test_documentation_target import text

COMMAND = '(module (memory (export "memory") 1) (func (export "_start")))'
WIDE: dict[str, Any] = {
    "entry": "f",
    "convention": "gufunc",
    "signature": "(n)->(n)",
    "inputs": ({"name": "x", "dtype": "FP32", "dims": [65]},),
    "outputs": ({"name": "y", "dtype": "FP32", "dims": [65]},),
}
GUFUNC = '(module (memory (export "memory") 1) (func (export "f") (param i32 i32 i32)))'
VOLUMES = (
    VolumeMount(host_path="/srv/my data", container_path="/data"),
    VolumeMount(host_path="/srv/rw", container_path="/rw", read_only=False),
)


@pytest.fixture
def add(tmp_path: Path) -> WasmBinaryPath:
    return WasmBinaryPath(path=wasm(tmp_path))


def several(folder: Path) -> list[WasmBinaryPath]:
    return [WasmBinaryPath(path=wasm(folder, name)) for name in ("one", "two")]


@pytest.mark.parametrize("package_image", [True, False])
def test_the_api_document_says_how_many_images_serve_the_modules(tmp_path: Path, package_image: bool) -> None:
    work = job(several(tmp_path), container_config=ContainerConfiguration(package_image=package_image))
    description = json.loads(text(target.generate(work).tree, "docs/openapi.json"))["info"]["description"]
    assert ("One image serves all modules" in description) is package_image
    assert ("a separate image" in description) is not package_image
    assert len(work.artifacts.nim_containers) == (1 if package_image else 2)


@pytest.mark.parametrize("runtime", list(ContainerRuntime))
def test_the_run_command_has_the_volumes_and_ports_of_the_spec(add: WasmBinaryPath, runtime: ContainerRuntime) -> None:
    config = ContainerConfiguration(runtime=runtime, volumes=VOLUMES, service_port=9000, metrics_port=9001)
    work = job([add], container_config=config)
    guide = text(target.generate(work).tree, "docs/containers.md")
    engine = runtime.value.lower()
    (line,) = re.findall(rf"^{engine} run .*$", guide, re.MULTILINE)
    words = shlex.split(line)
    ports = {int(words[i + 1].split(":")[1]) for i, word in enumerate(words) if word == "--publish"}
    volumes = {words[i + 1] for i, word in enumerate(words) if word == "--volume"}
    assert ports == set(work.artifacts.nim_containers[0].exposed_ports)
    assert volumes == {"/srv/my data:/data:ro", "/srv/rw:/rw"}
    assert words[-1] == "demo-add:1.2.0"
    other = {"docker": "podman", "podman": "docker"}[engine]
    assert other not in guide.replace("--format docker", "")


@pytest.mark.parametrize("runtime", list(ContainerRuntime))
def test_manifests_name_the_engine_of_the_spec(add: WasmBinaryPath, runtime: ContainerRuntime) -> None:
    made = deploy.generate(job([add], container_config=ContainerConfiguration(runtime=runtime)))
    engine = runtime.value.lower()
    assert text(made.tree, "deployment/compose.yaml").startswith(f"# {engine} compose --file compose.yaml up\n")
    (warning,) = made.warnings
    (command,) = re.findall(r"`(.*?)`", warning.remediation)
    build = shlex.split(command.partition(" && ")[2])
    assert build[:2] == [engine, "build"]
    assert (build[2:4] == ["--format", "docker"]) is (runtime is ContainerRuntime.Podman)


def test_podman_builds_in_docker_format_which_supports_health_checks() -> None:
    build = build_command
    assert build(ContainerRuntime.Podman, "a:1", "f", {"X": "a b"}) == [
        "podman", "build", "--format", "docker", "--build-arg", "X=a b", "-t", "a:1", "f",
    ]  # fmt: skip
    assert build(ContainerRuntime.Docker, "a:1", "f") == ["docker", "build", "-t", "a:1", "f"]


def test_the_schema_of_a_long_request_is_mentioned_only_if_it_was_written(tmp_path: Path) -> None:
    binary = WasmBinaryPath(path=wasm(tmp_path, "wide", GUFUNC), interface=ModuleInterface(**WIDE))
    hint = "`openapi.json` has its schema"
    assert hint in text(target.generate(job([binary])).tree, "docs/containers.md")
    for without in ({"generate_api_docs": False}, {"api_doc_format": ApiDocFormat.GRPC}):
        guide = text(target.generate(job([binary], **without)).tree, "docs/containers.md")
        assert "too long to print" in guide and hint not in guide


def test_modules_that_no_image_contains_are_not_documented(add: WasmBinaryPath, tmp_path: Path) -> None:
    program = WasmBinaryPath(path=wasm(tmp_path, "program", COMMAND))
    config = ContainerConfiguration(wasm_runtime=WasmRuntime.WasmEdge, package_image=True)
    work = job([add, program], container_config=config)
    for module in work.modules:  # both functions have the same rule
        assert is_in_image(work.spec, module) is (unservable(work, module) is None)
    made = target.generate(work)
    assert made.errors == ()
    assert "which serves the model `program`" in text(made.tree, "docs/containers.md")
    paths = json.loads(text(made.tree, "docs/openapi.json"))["paths"]
    assert "/v1/models/program/infer" in paths and "/v1/models/add/infer" not in paths


def test_the_guide_names_the_batch_dimension_of_models_with_batches(tmp_path: Path) -> None:
    work = job(several(tmp_path))
    guide = text(target.generate(work).tree, "docs/triton.md")
    assert "The first dimension is the batch." in guide and guide.count("batches of at most 64") == 2
    one, two = work.artifacts.triton_models
    mixed = Artifacts(triton_models=(one, two.model_copy(update={"max_batch_size": 0})))
    guide = text(target.generate(of(work.spec, work.modules, mixed)).tree, "docs/triton.md")
    assert "The first dimension, if the model has batches, is the batch." in guide
    assert "`demo_one`, version 1, batches of at most 64" in guide and guide.count("batches of at most") == 1


@pytest.mark.parametrize(("kind", "shown"), [(DataType.UINT64, "1"), (DataType.STRING, "'1'")])
def test_a_request_to_a_model_with_sequences_has_a_sequence_id(add: WasmBinaryPath, kind: DataType, shown: str) -> None:
    control = ControlInput(name="ID", control_type=ControlType.CorrelationId, data_type=kind)
    config = TritonConfiguration(sequence_batching=SequenceBatchingConfig(control_inputs=(control,)))
    guide = text(target.generate(job([add], triton_config=config)).tree, "docs/triton.md")
    assert f"sequence_id={shown}, sequence_start=True, sequence_end=True)" in guide
    (body,) = re.findall(r"--data ('.*')", guide)
    sent: dict[str, Any] = json.loads(shlex.split(body)[0])
    assert sent["parameters"] == {
        "sequence_id": json.loads(shown.replace("'", '"')),
        "sequence_start": True,
        "sequence_end": True,
    }
    assert "sequence_id" not in text(target.generate(job([add])).tree, "docs/triton.md")
