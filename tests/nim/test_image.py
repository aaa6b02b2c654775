"""The content of a service image on a real engine: unit test scenario 1 of the requirements (6.3), and its users."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from docker import DockerClient

from portalis.engines.build_context import BuildContext
from portalis.engines.container_engine import ContainerEngine
from portalis.engines.image import Image
from portalis.examples.catalog import EXAMPLES
from portalis.nim.image_pins import image_pins
from portalis.nim.service.settings import ModelSettings
from portalis.nim.service_context import ImageLabels, build_context
from portalis.spec.container import ContainerConfiguration
from tests import parts
from tests.running import waiting

pytestmark = pytest.mark.slow

REFERENCE = "portalis-test/package:1"
CONFIG = ContainerConfiguration(
    base_image=parts.BASE_IMAGE,
    wheelhouse=parts.WHEELHOUSE,
    environment_vars={"GREETING": "hello"},
    labels={"team": "a"},
    health_check_interval=11,
    grpc_port=8101,
)
MODELS = [(ModelSettings(name=name, file=f"{name}.wasm"), EXAMPLES[name].module) for name in ("gelu", "softmax")]
LABELS = ImageLabels(package="demo", version="1.2.3", description="Two models", licenses="MIT")


@pytest.fixture(scope="module")
def context() -> BuildContext:
    return build_context(CONFIG, models=MODELS, labels=LABELS)


@pytest.fixture(scope="module")
def folder(context: BuildContext, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    context.write_to(folder)
    return folder


@pytest.fixture(scope="module")
def image(docker: ContainerEngine, folder: Path) -> Iterator[Image]:
    yield docker.build(folder, REFERENCE, network="none", timeout_s=6 * waiting.PATIENCE_S)
    docker.remove(REFERENCE)


def start(docker: ContainerEngine, **options: Any) -> Any:
    """A container with the security settings of a careful operator, and only a loopback network."""
    client = DockerClient(base_url=docker.address, timeout=int(waiting.PATIENCE_S))
    confined = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "user": "4242:4242"}
    return client.containers.run(REFERENCE, detach=True, network_mode="none", **{**confined, **options})


def inside(container: Any, program: str) -> str:
    """The output of a Python program in the container, run as its user."""
    status, output = container.exec_run(["/opt/venv/bin/python", "-c", program])
    assert status == 0, output.decode()
    return str(output.decode())


@pytest.fixture(scope="module")
def service(docker: ContainerEngine, image: Image) -> Iterator[Any]:
    """A container of the image whose service is ready."""
    container = start(docker)
    try:
        check = image.config["Healthcheck"]["Test"][1:]
        waiting.until(lambda: container.exec_run(check)[0] == 0, lambda: container.logs().decode(), every_s=0.2)
        yield container
    finally:
        container.remove(force=True, v=True)


def test_unit_1_dockerfile_generation(context: BuildContext, image: Image, service: Any) -> None:
    """Given metadata of modules and a configuration, the Dockerfile of ``generate_dockerfile()`` and the image have: …"""
    text = context.files[PurePosixPath("Dockerfile")]
    assert isinstance(text, bytes)
    assert text.decode().splitlines()[1] == f"FROM {CONFIG.base_image} AS build"
    # the runtime is installed
    pinned = {f"{pin.name}=={pin.version}" for pin in image_pins()} - {"exceptiongroup==1.3.2"}
    listing = "import importlib.metadata as m; print(*(f'{d.name.lower()}=={d.version}' for d in m.distributions()))"
    assert {each.replace("_", "-") for each in inside(service, listing).split()} == pinned
    assert json.loads(inside(service, CALL.format(path="/v1/manifest", body=None)))["models"][0]["name"] == "gelu"
    # a user that is not root
    assert image.config["User"] == "1001:0"
    # a health check, by interval, timeout and retries, without curl
    check = image.config["Healthcheck"]
    assert (check["Interval"], check["Timeout"], check["Retries"]) == (11 * 10**9, 5 * 10**9, 3)
    assert check["Test"][:2] == ["CMD", "/opt/venv/bin/python"]
    # ports
    assert set(image.config["ExposedPorts"]) == {"8000/tcp", "8101/tcp", "9090/tcp"}
    # environment variables
    assert {"GREETING=hello", "SERVICE_PORT=8000", "GRPC_PORT=8101", "METRICS_PORT=9090"} <= set(image.config["Env"])
    assert {"NIM_CACHE_PATH=/opt/nim/.cache", "WASM_MODULE=/app/models"} <= set(image.config["Env"])
    # and the other contents that requirements 2.2 list
    labels = image.config["Labels"]
    assert labels["wasm.module"] == "gelu,softmax" and labels["team"] == "a"
    assert labels["org.opencontainers.image.description"] == "Two models"
    assert set(image.config["Volumes"]) == {"/opt/nim/.cache", "/model-store"}
    assert image.config["StopSignal"] == "SIGTERM"
    assert image.config["Entrypoint"][-1] == "/app/models/service.json"


CALL = (
    "import json, urllib.request as r;"
    "print(r.urlopen(r.Request('http://127.0.0.1:8000{path}', {body}, {{'Content-Type': 'application/json'}}))"
    ".read().decode())"
)


@pytest.mark.parametrize("model", ["gelu", "softmax"])
def test_a_read_only_container_without_capabilities_responds_as_an_unknown_user(service: Any, model: str) -> None:
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}]}).encode()
    answer = json.loads(inside(service, CALL.format(path=f"/v1/models/{model}/infer", body=body)))
    assert answer["outputs"][0]["data"] == ([0, 0] if model == "gelu" else [0.5, 0.5])
    assert inside(service, "import os; print(os.getuid(), os.getgid())").split() == ["4242", "4242"]
    status = inside(service, "print(open('/proc/1/status').read())")
    assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status


def test_only_the_cache_and_the_model_store_are_writable_for_every_user(service: Any) -> None:
    program = (
        "import os, tempfile\n"
        "for folder in ('/opt/nim/.cache', '/model-store'):\n"
        "    print(oct(os.stat(folder).st_mode & 0o7777), bool(tempfile.mkstemp(dir=folder)))\n"
        "for folder in ('/', '/app', '/app/models', '/opt/venv', '/opt/nim'):\n"
        "    print(os.access(folder, os.W_OK))"
    )
    assert inside(service, program).split() == ["0o1777", "True"] * 2 + ["False"] * 5
    kept = inside(service, "import pathlib; print(*pathlib.Path('/opt/nim/.cache').rglob('*.code'))").split()
    # compiled for the next start: each module with its loop and its bridge, and the adapter of both
    assert len(kept) == 7


def test_an_image_has_no_wheels_no_pip_cache_and_no_build_directory(service: Any) -> None:
    program = "import glob; print(glob.glob('/build') + glob.glob('/root/.cache/*') + glob.glob('/**/wheels/*.whl'))"
    assert inside(service, program).strip() == "[]"


def test_a_changed_module_rebuilds_only_the_last_layer(
    docker: ContainerEngine, folder: Path, image: Image, tmp_path: Path
) -> None:
    models = [MODELS[0], (MODELS[1][0], tmp_path / "changed.wasm")]
    (tmp_path / "changed.wasm").write_bytes(EXAMPLES["softmax"].module.read_bytes() + b"\0\2\1x")  # a custom section
    changed = build_context(CONFIG, models=models, labels=LABELS)
    # the unchanged code
    shutil.copytree(folder, tmp_path / "context")
    for path, content in changed.files.items():
        if path.parts[0] != "app":
            (tmp_path / "context" / path).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    again = docker.build(tmp_path / "context", "portalis-test/changed:1", network="none")
    layers = [[step.layer_id for step in each.layers] for each in (image, again)]
    assert layers[0][:-1] == layers[1][:-1] and layers[0][-1] != layers[1][-1]
    files = [DockerClient(base_url=docker.address).api.inspect_image(name) for name in (REFERENCE, again.image_id)]
    stored = [each["RootFS"]["Layers"] for each in files]
    assert stored[0][:-1] == stored[1][:-1] and stored[0][-1] != stored[1][-1]
    docker.remove("portalis-test/changed:1")


def test_the_docker_command_builds_the_same_image_from_the_directory(
    docker: ContainerEngine, folder: Path, image: Image
) -> None:
    """The command line applies ``.dockerignore``, the engine's API does not."""
    program = shutil.which("docker")
    assert program is not None, "it comes with the engine"
    (folder / "secret.txt").write_text("not for the engine")
    words = [program, "--host", docker.address, "build", "--network", "none", "--tag", "portalis-test/by-hand:1", "."]
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, "DOCKER_BUILDKIT": "0"}, capture_output=True, text=True, check=False
    )
    (folder / "secret.txt").unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    assert docker.inspect("portalis-test/by-hand:1").image_id == image.image_id
    docker.remove("portalis-test/by-hand:1")
