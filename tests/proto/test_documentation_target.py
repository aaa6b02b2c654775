"""The files of the target for each kind of job; the commands of its guides work on a real server."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from markdown_it import MarkdownIt

from portalis.contracts.documents import DocumentFormat
from portalis.contracts.output import Artifacts
from portalis.errors import MissingPart
from portalis.output import OutputTree
from portalis.proto import documentation_target as target
from portalis.spec.container import ContainerConfiguration, ContainerRuntime, VolumeMount
from portalis.spec.model_tensors import DataType, ModelInput, ModelOutput
from portalis.spec.package_spec import ApiDocFormat, ModuleInterface, WasmBinaryPath
from portalis.spec.triton import CustomPlatform, Ensemble, EnsembleStep, TritonConfiguration
from portalis.target import Target
from portalis.triton_client import load_model
from portalis.tritonserver import TritonServer
from tests.parts import ROOT, skip_or_fail
from tests.running.waiting import PATIENCE_S

from .jobs import job, of, wasm

GRPC = {
    "docs/grpc/demo_models.pb",
    "docs/grpc/demo_models.proto",
    "docs/grpc/open_inference.proto",
    "docs/grpc/portalis_tensors.proto",
}
OPENAPI = {"docs/openapi.json", "docs/openapi-3.1.json"}
TRITON, CONTAINERS = {"docs/triton.md", "docs/triton.html"}, {"docs/containers.md", "docs/containers.html"}


def paths(tree: OutputTree) -> set[str]:
    return {str(entry.path) for entry in tree}


def text(tree: OutputTree, path: str) -> str:
    (content,) = [entry.content for entry in tree if entry.path == PurePosixPath(path)]
    assert isinstance(content, bytes)
    return content.decode()


@pytest.fixture
def add(tmp_path: Path) -> WasmBinaryPath:
    return WasmBinaryPath(path=wasm(tmp_path))


def test_the_module_is_a_target() -> None:
    found: Target = target  # mypy checks this too
    assert callable(found.generate)


def test_a_package_with_images_and_models_has_all_documents(add: WasmBinaryPath) -> None:
    work = job([add], description="adds")
    made = target.generate(work)
    assert made.errors == ()
    assert paths(made.tree) == GRPC | OPENAPI | TRITON | CONTAINERS
    documents = made.artifacts.api_documentation
    assert [(each.format, Path(each.file_path).name) for each in documents] == [
        ("OpenAPI", "openapi.json"),
        ("OpenAPI", "openapi-3.1.json"),
        ("GRPC", "demo_models.proto"),
    ]
    assert documents[2].grpc_descriptor == "/package/docs/grpc/demo_models.pb"
    assert {each.format for each in made.artifacts.integration_guides} == {DocumentFormat.Markdown, DocumentFormat.HTML}
    assert made.artifacts.integration_guides[0].content_sections == ("The models", "Serve the models", "Send requests")
    assert [(each.check, each.valid) for each in made.validation_results] == [("protoc", True)]
    assert target.run(work, made) is made


def test_the_same_job_gives_the_same_bytes(add: WasmBinaryPath) -> None:
    one, other = target.generate(job([add])).tree, target.generate(job([add])).tree
    assert list(one) == list(other)


def test_only_requested_documents_are_generated(add: WasmBinaryPath) -> None:
    assert paths(target.generate(job([add], api_doc_format=ApiDocFormat.OpenAPI)).tree) == OPENAPI | TRITON | CONTAINERS
    assert paths(target.generate(job([add], api_doc_format=ApiDocFormat.GRPC)).tree) == GRPC | TRITON | CONTAINERS
    assert paths(target.generate(job([add], generate_api_docs=False)).tree) == TRITON | CONTAINERS


def test_guides_are_written_only_for_existing_artifacts(add: WasmBinaryPath) -> None:
    assert paths(target.generate(job([add], containers=False, triton=False)).tree) == OPENAPI
    assert paths(target.generate(job([add], containers=False, enable_nim_packaging=False)).tree) == GRPC | TRITON
    assert paths(target.generate(job([add], triton=False)).tree) == OPENAPI | CONTAINERS


def test_the_target_is_skipped_only_without_an_api(add: WasmBinaryPath) -> None:
    assert target.skip_reason(job([add]).spec) is None
    assert target.skip_reason(job([add], enable_nim_packaging=False).spec) is None
    why = target.skip_reason(job([add], enable_nim_packaging=False, enable_triton_integration=False).spec)
    assert why is not None
    assert "no API" in why
    assert list(target.spec_problems(job([add]).spec)) == []


def test_the_stage_is_skipped_for_a_package_without_an_api(add: WasmBinaryPath) -> None:
    made = target.generate(job([add], containers=False, triton=False, enable_nim_packaging=False))
    assert made.skipped == "nothing with an API was generated"
    assert len(made.tree) == 0


def test_a_module_without_an_interface_is_an_error_and_the_others_are_documented(
    add: WasmBinaryPath, tmp_path: Path
) -> None:
    unknown = WasmBinaryPath(path=wasm(tmp_path, "unknown", '(module (memory (export "memory") 1))'))
    made = target.generate(job([add, unknown]))
    (error,) = made.errors
    assert "'unknown'" in str(error)
    assert "wasm_binaries[].interface" in error.remediation
    assert '"/v1/models/add/infer"' in text(made.tree, "docs/openapi.json")
    assert "unknown" not in text(made.tree, "docs/grpc/demo_models.proto")


def test_without_protoc_only_the_descriptors_are_missing(add: WasmBinaryPath, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(files: object, name: str) -> bytes:
        raise MissingPart("no protoc", remediation="Install portalis[proto].")

    monkeypatch.setattr(target, "descriptor_set", missing)
    made = target.generate(job([add]))
    assert paths(made.tree) == (GRPC | OPENAPI | TRITON | CONTAINERS) - {"docs/grpc/demo_models.pb"}
    assert [error.remediation for error in made.errors] == ["Install portalis[proto]."]
    assert made.artifacts.api_documentation[-1].grpc_descriptor is None


def test_a_model_has_the_tensors_of_the_spec(add: WasmBinaryPath) -> None:
    x = ModelInput(name="left", data_type=DataType.STRING, dims=(2,))
    y = ModelOutput(name="out", data_type=DataType.FP64, dims=(-1,))
    config = TritonConfiguration(model_name="own", platform=CustomPlatform(Custom="mine"), inputs=(x,), outputs=(y,))
    guide = text(target.generate(job([add], triton_config=config)).tree, "docs/triton.md")
    assert "`own`, version 1" in guide
    assert "inputs: `left` (BYTES, `[-1, 2]`)" in guide
    assert "np.full((1, 2), b'text', dtype=object)" in guide
    assert "portalis serve" not in guide  # it has no such backend


def chain() -> TritonConfiguration:
    """An ensemble of one step."""
    step = EnsembleStep(model_name="demo_add", input_map={"a": "x"}, output_map={"y": "z"})
    ensemble = Ensemble(
        name="chain",
        inputs=(ModelInput(name="x", data_type=DataType.FP32, dims=(2,)),),
        outputs=(ModelOutput(name="z", data_type=DataType.FP32, dims=(2,)),),
        steps=(step,),
    )
    return TritonConfiguration(ensembles=(ensemble,))


@pytest.mark.parametrize("together", [True, False])
def test_an_ensemble_is_documented_for_the_image_that_contains_it(add: WasmBinaryPath, together: bool) -> None:
    config = ContainerConfiguration(package_image=together)
    made = target.generate(job([add], triton_config=chain(), container_config=config))
    document, guide = (text(made.tree, path) for path in ("docs/openapi.json", "docs/containers.md"))
    assert ("/v1/models/chain/infer" in json.loads(document)["paths"]) is together
    assert ("which serves the models `add`, `chain`" in guide) is together
    assert ("/v1/models/chain/infer" in guide) is together


def test_an_ensemble_is_documented_with_its_own_tensors(add: WasmBinaryPath) -> None:
    work = job([add], triton_config=chain())
    (model,) = work.artifacts.triton_models
    made = Artifacts(triton_models=(model.model_copy(update={"model_name": "chain", "max_batch_size": 0}),))
    proto = text(target.generate(of(work.spec, work.modules, made)).tree, "docs/grpc/demo_models.proto")
    assert "message ChainInputs" in proto
    assert "shape: [2]" in proto


def test_a_request_that_is_too_long_is_not_printed(tmp_path: Path) -> None:
    image = {"name": "x", "dtype": "FP32", "dims": [3, 224, 224]}
    declared = ModuleInterface(
        entry="f", convention="gufunc", signature="(c,h,w)->(c,h,w)", inputs=(image,), outputs=({**image, "name": "y"},)
    )
    wat = '(module (memory (export "memory") 1) (func (export "f") (param i32 i32 i32 i32 i32)) (func (export "malloc") (param i32) (result i32) i32.const 0) (func (export "free") (param i32)))'
    made = target.generate(job([WasmBinaryPath(path=wasm(tmp_path, "big", wat), interface=declared)]))
    assert made.errors == ()
    assert "too long to print" in text(made.tree, "docs/containers.md")
    guide = text(made.tree, "docs/triton.md")
    assert "np.full((3, 224, 224), 0.5, dtype=np.float32)" in guide
    assert "/infer" not in guide


def test_the_run_command_has_the_security_settings(add: WasmBinaryPath) -> None:
    config = ContainerConfiguration(
        runtime=ContainerRuntime.Podman,
        drop_capabilities=("NET_RAW",),
        service_port=9000,
        memory_limit="2Gi",
        cpu_limit="500m",
        gpu_required=True,
        volumes=(
            VolumeMount(host_path="/srv/my data", container_path="/data"),
            VolumeMount(host_path="/rw", container_path="/rw", read_only=False),
        ),
    )
    work = job([add], container_config=config)
    (container,) = work.artifacts.nim_containers
    saved = container.model_copy(update={"image_archive_path": "/package/images/it's.tar"})
    made = target.generate(dataclasses.replace(work, artifacts=Artifacts(nim_containers=(saved,))))
    guide = text(made.tree, "docs/containers.md")
    (run,) = re.findall(r"^podman run .*$", guide, re.MULTILINE)
    assert run == (
        "podman run --rm --read-only --tmpfs /tmp --cap-drop=NET_RAW --security-opt=no-new-privileges"
        " --memory 2147483648b --cpus 0.5 --device nvidia.com/gpu=all --volume '/srv/my data:/data:ro' --volume /rw:/rw"
        " --publish 9090:9090 --publish 8001:8001 --publish 9000:9000 demo-add:1.2.0"
    )
    (load,) = re.findall(r"^podman load.*$", guide, re.MULTILINE)
    assert shlex.split(load) == ["podman", "load", "--input", "images/it's.tar"]
    (curl,) = re.findall(r"^curl --globoff (?:.|\n)*?(?=^```$)", guide, re.MULTILINE)
    assert shlex.split(curl)[2] == "http://localhost:9000/v1/models/add/infer"


def test_the_request_for_each_image_names_its_model(add: WasmBinaryPath) -> None:
    binaries = [add.model_copy(update={"name": name}) for name in ("b", "a-b")]
    guide = text(target.generate(job(binaries, package_name="demo-a")).tree, "docs/containers.md")
    assert "- `demo-a-b:1.2.0`, which serves the model `b`\n- `demo-a-a-b:1.2.0`, which serves the model `a-b`" in guide
    config = ContainerConfiguration(image_name="acme/own")
    alone = text(target.generate(job([add], container_config=config)).tree, "docs/containers.md")
    assert "- `acme/own:1.2.0`, which serves the model `add`" in alone
    together = ContainerConfiguration(package_image=True)
    both = text(target.generate(job(binaries, container_config=together)).tree, "docs/containers.md")
    assert "- `demo:1.2.0`, which serves the models `b`, `a-b`" in both
    assert both.count("An inference request to ") == 2 and "/v1/models/a-b/infer" in both


def test_hostile_names_stay_data_in_every_document(add: WasmBinaryPath) -> None:
    name = 'it\'s "a" ```\n# x\n<script>{{ 1 }}${HOME} */ //'
    made = target.generate(
        job([add.model_copy(update={"name": name, "description": name})], package_name=name, description=name)
    )
    assert made.errors == ()
    for guide in ("docs/triton.md", "docs/containers.md"):
        tokens = MarkdownIt("commonmark").parse(text(made.tree, guide))
        assert [token.tag for token in tokens if token.type == "heading_open"].count("h1") == 1
        assert not [token for token in tokens if token.type.startswith("html")]
    assert "<script" not in text(made.tree, "docs/triton.html")
    assert "<script" not in text(made.tree, "docs/containers.html")


def test_importing_the_target_loads_neither_the_runtime_nor_the_service() -> None:
    program = "import sys, portalis.proto.documentation_target, portalis.deploy.deployment_target; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {
        "wasmtime",
        "fastapi",
        "grpc_tools",
        "docker",
        "markdown_it",
        "portalis.backend",
        "portalis.nim",
    }.isdisjoint(loaded)
    assert not [name for name in loaded if name.startswith(("portalis.nim", "portalis.pipeline", "portalis.omniverse"))]


@pytest.mark.triton
def test_the_requests_of_the_guide_work_on_a_real_server(shared_triton: TritonServer) -> None:

    if shutil.which("curl") is None:
        skip_or_fail("curl: `apt-get install curl`")
    modules = sorted((ROOT / "examples").glob("*/*.wasm"))
    guide = text(target.generate(job([WasmBinaryPath(path=path) for path in modules])).tree, "docs/triton.md")
    for module in modules:
        version = shared_triton.repositories[0] / f"demo_{module.stem}" / "1"
        version.mkdir(parents=True)
        shutil.copy(module, version / "model.wasm")
        (version.parent / "config.pbtxt").write_text('backend: "wasm"\n')
        load_model(shared_triton.grpc_url, f"demo_{module.stem}", timeout_s=PATIENCE_S)
    calls = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    curls = re.findall(r"^curl --globoff .*?(?=^```$)", guide, re.MULTILINE | re.DOTALL)
    assert len(calls) == len(curls) == len(modules)
    for call in calls:
        program = call.replace("localhost:8001", shared_triton.grpc_url)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == 0, program + done.stderr
        assert done.stdout
    for curl in curls:
        command = curl.replace("localhost:8000", shared_triton.http_url).replace("curl", "curl --fail --silent", 1)
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, curl + done.stdout
        assert '"outputs"' in done.stdout
