"""Images on a real Docker engine: built, inspected, tried, exported; and what goes wrong."""

from __future__ import annotations

import ast
import json
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from portalis.examples.catalog import EXAMPLES
from portalis.nim.context import About, Context, build_context
from portalis.nim.engine import Engine
from portalis.nim.image import BuildTimedOut, EngineFailed, EngineUnavailable, Image
from portalis.nim.packing import lay_out, pack
from portalis.nim.service.settings import ModelSettings
from portalis.nim.smoke import smoke
from portalis.spec.container import ContainerConfiguration, ContainerRuntime
from tests import parts

REFERENCE = "portalis-test/softmax:1.2.3"
AWKWARD = 'a "quoted" $HOME \\ and\na second line'
CONFIG = ContainerConfiguration(
    base_image=parts.BASE_IMAGE,
    wheelhouse=parts.WHEELHOUSE,
    labels={"awkward": AWKWARD},
    environment_vars={"AWKWARD": AWKWARD},
)


def context() -> Context:
    return build_context(
        CONFIG,
        models=[(ModelSettings(name="softmax", file="softmax.wasm"), EXAMPLES["softmax"].module)],
        about=About(package="demo", version="1.2.3"),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("context")
    lay_out(context(), folder)
    return folder


@pytest.fixture(scope="module")
def image(docker: Engine, folder: Path) -> Iterator[Image]:
    lines: list[str] = []
    made = docker.build(
        folder, REFERENCE, arguments=context().arguments, network="none", timeout_s=300, on_line=lines.append
    )
    assert any(line.startswith("Successfully tagged") for line in lines)
    yield made
    docker.remove(REFERENCE)


@pytest.mark.slow
def test_the_image_says_what_the_configuration_says(image: Image) -> None:
    assert image.image_id.startswith("sha256:") and image.digest is None
    assert image.config["Labels"]["awkward"] == AWKWARD
    assert f"AWKWARD={AWKWARD}" in image.config["Env"]
    assert image.config["User"] == "1001:0"
    assert set(image.config["ExposedPorts"]) == {"8000/tcp", "8001/tcp", "9090/tcp"}
    assert image.config["Healthcheck"]["Interval"] == 30_000_000_000
    assert image.config["Healthcheck"]["Retries"] == 3
    base, module = image.layers[0], image.layers[-1]
    assert base.size_bytes > 50_000_000 and sum(layer.size_bytes for layer in image.layers) == image.size_bytes
    assert "/app/models" in module.created_by and module.size_bytes < 100_000


@pytest.mark.slow
def test_a_confined_container_becomes_healthy_infers_as_numpy_does_and_stops(docker: Engine, image: Image) -> None:
    assert CONFIG.read_only_root_filesystem and CONFIG.drop_capabilities == ("ALL",)
    x = np.array([[1.0, 2.0, -3.0], [0.5, 0.5, 80.0]], dtype=np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": x.ravel().tolist()}
    went = smoke(docker, REFERENCE, config=CONFIG, requests={"softmax": {"inputs": [tensor]}})
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    (output,) = went.answers["softmax"]["outputs"]
    np.testing.assert_allclose(
        np.reshape(output["data"], (2, 3)), powers / powers.sum(axis=1, keepdims=True), rtol=1e-5, atol=1e-7
    )
    assert went.checked_by_engine and went.exit_status == 0
    assert went.healthy_after_s < 30


@pytest.mark.slow
def test_what_goes_wrong_in_a_container_is_told_with_its_log(docker: Engine, image: Image) -> None:
    with pytest.raises(EngineFailed, match=r"/v1/models/other/infer with 404.*there is no model 'other'") as caught:
        smoke(docker, REFERENCE, config=CONFIG, requests={"other": {"inputs": []}})
    assert any("model 'softmax' is ready" in line for line in caught.value.log)


@pytest.mark.slow
def test_another_module_rebuilds_the_last_layer_alone(
    docker: Engine, folder: Path, image: Image, tmp_path: Path
) -> None:
    lay_out(context(), tmp_path)
    (tmp_path / "models" / "softmax.wasm").write_bytes(EXAMPLES["gelu"].module.read_bytes())
    again = docker.build(tmp_path, "portalis-test/gelu:1", arguments=context().arguments, network="none")
    assert [step.layer_id for step in again.layers[:-1]] == [step.layer_id for step in image.layers[:-1]]
    assert again.layers[-1].layer_id != image.layers[-1].layer_id
    docker.remove("portalis-test/gelu:1")


@pytest.mark.slow
def test_an_exported_image_is_an_archive_that_docker_loads(docker: Engine, image: Image, tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    assert docker.save(REFERENCE, file) == file.stat().st_size
    with tarfile.open(file) as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        (entry,) = json.load(manifest)
    assert entry["RepoTags"] == [REFERENCE]
    assert entry["Config"].removesuffix(".json") == image.image_id.removeprefix("sha256:")


def test_a_container_that_ends_by_itself_is_told_with_its_status_and_log(docker: Engine, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f'FROM {parts.BASE_IMAGE}\nENTRYPOINT ["sh", "-c", "echo no such thing; exit 5"]\n'
    )
    docker.build(tmp_path, "portalis-test/ends:1", network="none")
    with pytest.raises(EngineFailed, match="ended with exit status 5") as caught:
        smoke(docker, "portalis-test/ends:1", config=CONFIG, requests={})
    assert caught.value.log == ("no such thing",)
    docker.remove("portalis-test/ends:1")


def test_a_failed_build_keeps_its_log_and_the_engines_reason(docker: Engine, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f'FROM {parts.BASE_IMAGE}\nRUN ["sh", "-c", "echo before; exit 3"]\n')
    with pytest.raises(EngineFailed, match="returned a non-zero code: 3") as caught:
        docker.build(tmp_path, "portalis-test/broken:1", network="none")
    assert "before" in caught.value.log
    assert "before" in str(caught.value)


def test_a_build_that_takes_too_long_is_given_up_and_its_log_kept(docker: Engine, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f'FROM {parts.BASE_IMAGE}\nRUN ["sleep", "60"]\n')
    began = time.monotonic()
    with pytest.raises(BuildTimedOut, match="took longer than 4 s") as caught:
        docker.build(tmp_path, "portalis-test/slow:1", network="none", timeout_s=4)
    assert time.monotonic() - began < 15
    assert any("sleep" in line for line in caught.value.log)
    assert docker.version().startswith("Engine")  # the connection is still of use


def test_an_image_that_is_not_there_is_told(docker: Engine) -> None:
    with pytest.raises(EngineFailed, match="there is no image portalis-test/nothing:1"):
        docker.inspect("portalis-test/nothing:1")
    docker.remove("portalis-test/nothing:1")


@pytest.mark.parametrize(
    ("runtime", "variable"), [(ContainerRuntime.Docker, "DOCKER_HOST"), (ContainerRuntime.Podman, "CONTAINER_HOST")]
)
def test_an_engine_that_does_not_answer_is_told_with_what_to_do(
    tmp_path: Path, runtime: ContainerRuntime, variable: str
) -> None:
    with pytest.raises(EngineUnavailable, match=f"no {runtime} engine answers .*nothing.sock") as caught:
        Engine.find(runtime, {variable: f"unix://{tmp_path}/nothing.sock"})
    assert variable in caught.value.remediation
    with pytest.raises(EngineUnavailable, match=str(tmp_path)):
        Engine.find(ContainerRuntime.Podman, {"XDG_RUNTIME_DIR": str(tmp_path)})


def test_the_same_context_is_packed_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    lay_out(context(), tmp_path / "again")
    (tmp_path / "again" / "Dockerfile").chmod(0o600)
    archives = []
    for number, each in enumerate((folder, tmp_path / "again")):
        with (tmp_path / f"{number}.tar").open("wb") as archive:
            pack(each, archive, {})
        archives.append((tmp_path / f"{number}.tar").read_bytes())
    assert archives[0] == archives[1]


def test_the_sdk_is_imported_by_one_module() -> None:
    importers = set()
    for path in (parts.ROOT / "nim").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            importers |= {path.name for name in names if name.split(".")[0] == "docker"}
    assert importers == {"sdk.py"}
