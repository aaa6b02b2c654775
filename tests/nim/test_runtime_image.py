"""An image whose commands run in WasmEdge, on the real engine: confined, on a base image with an older C library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from docker import DockerClient

from portalis.engines.container_engine import ContainerEngine
from portalis.nim.service.settings import ModelSettings
from portalis.nim.service_context import ImageLabels, build_context
from portalis.nim.wasm_runtimes import find_runtime
from portalis.spec.container import ContainerConfiguration, WasmRuntime
from tests import parts
from tests.backend import guests
from tests.running import waiting

pytestmark = pytest.mark.slow

REFERENCE = "portalis-test/wasmedge:1"
ASK = """
import json, urllib.request
stdin = {"name": "stdin", "datatype": "BYTES", "shape": [2, 1], "data": ["hello", "Z\\u00fcrich"]}
request = urllib.request.Request(
    "http://127.0.0.1:8000/v1/models/cat/infer",
    json.dumps({"inputs": [stdin]}).encode(),
    {"Content-Type": "application/json"},
)
print(urllib.request.urlopen(request).read().decode())
"""


def test_a_command_runs_in_wasmedge_in_a_confined_container(docker: ContainerEngine, tmp_path: Path) -> None:
    (tmp_path / "cat.wasm").write_bytes(guests.wasm(guests.CAT))
    config = ContainerConfiguration(
        base_image=parts.BASE_IMAGE,
        wheelhouse=parts.WHEELHOUSE,
        wasm_runtime=WasmRuntime.WasmEdge,
        wasm_runtime_path=parts.wasmedge(),
    )
    models = [(ModelSettings(name="cat", file="cat.wasm"), tmp_path / "cat.wasm")]
    context = build_context(
        config, models=models, labels=ImageLabels(package="demo", version="1"), runtime=find_runtime(config)
    )
    context.write_to(tmp_path / "context")
    lines: list[str] = []
    image = docker.build(
        tmp_path / "context", REFERENCE, network="none", timeout_s=6 * waiting.PATIENCE_S, on_line=lines.append
    )
    # the build has run the runtime on this base image
    assert any("wasmedge version" in line for line in lines)
    client = DockerClient(base_url=docker.address, timeout=int(waiting.PATIENCE_S))
    container = client.containers.run(
        REFERENCE,
        detach=True,
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        user="4242:4242",
    )
    try:
        check = image.config["Healthcheck"]["Test"][1:]
        waiting.until(lambda: container.exec_run(check)[0] == 0, lambda: container.logs().decode(), every_s=0.2)
        status, output = container.exec_run(["/opt/venv/bin/python", "-c", ASK])
        assert status == 0, output.decode()
        outputs = {each["name"]: each["data"] for each in json.loads(output)["outputs"]}
        assert outputs["stdout"] == ["hello", "Zürich"]
        container.stop(timeout=int(waiting.PATIENCE_S))
        assert container.wait()["StatusCode"] == 0, container.logs().decode()
    finally:
        container.remove(force=True, v=True)
        docker.remove(REFERENCE)
