"""Commands of the README, run exactly as it shows them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from portalis.examples.catalog import EXAMPLES
from portalis.images import planned_image
from portalis.spec import read_spec
from portalis.triton_client import RemoteModel
from tests import parts
from tests.parts import ROOT
from tests.running.waiting import PATIENCE_S

READY = re.compile(r"gRPC (\S+)")


def readme_commands(title: str = "Package modules") -> list[list[str]]:
    """The commands of a section of the README, without comments."""
    section = (ROOT / "README.md").read_text().split(f"## {title}")[1]
    block = section.split("```console\n")[1].split("```")[0].replace("\\\n", " ")
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in block.splitlines() if line.startswith("$ ")]


def test_the_readme_packages_and_serves_with_three_commands() -> None:
    assert [command[:2] for command in readme_commands()] == [
        ["portalis", "init"],
        ["portalis", "package"],
        ["portalis", "serve"],
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(EXAMPLES["gelu"].module, tmp_path)
    return tmp_path


@pytest.mark.triton
def test_the_three_commands_serve_the_model(folder: Path) -> None:
    parts.tritonserver()
    init, package, serve = ([sys.executable, "-m", *command] for command in readme_commands())
    for command in (init, package):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    ports = ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
    server = subprocess.Popen([*serve, *ports], cwd=folder, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        assert server.stderr is not None
        url = next(found[1] for line in server.stderr if (found := READY.search(line)))
        x = np.linspace(-3, 3, 7, dtype=np.float32)[np.newaxis]
        with RemoteModel(url, "gelu", timeout_s=PATIENCE_S) as model:
            result = model.infer({"x": x})
        np.testing.assert_allclose(result.outputs["y"], EXAMPLES["gelu"].reference({"x": x})["y"], rtol=1e-5, atol=1e-6)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=PATIENCE_S)
    assert server.returncode in (0, 130)


@pytest.mark.service
def test_the_service_serves_the_requests_of_the_readme(folder: Path) -> None:
    run, _, _, _, health, infer = readme_commands("Service images")
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    server = subprocess.Popen([sys.executable, "-m", *run, *ports], cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        url = next(found[1] for line in server.stderr if (found := re.search(r"HTTP (http://\S+)", line)))
        next(line for line in server.stderr if "ready" in line)
        assert json.loads(run_curl(url, health))["object"] == "health.response"
        y = json.loads(run_curl(url, infer))["outputs"][0]["data"]
        x = np.array(json.loads(infer[-1])["inputs"][0]["data"], np.float32)
        np.testing.assert_allclose(y, EXAMPLES["gelu"].reference({"x": x})["y"], rtol=1e-5, atol=1e-6)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=PATIENCE_S)
    assert server.returncode == 0


def run_curl(url: str, curl: list[str]) -> bytes:
    """Send the request of a curl command to the service at `url`, regardless of the command's port; returns the body."""
    (address,) = (argument for argument in curl if argument.startswith("localhost:"))
    data = curl[curl.index("-d") + 1].encode() if "-d" in curl else None
    with urllib.request.urlopen(url + "/" + address.partition("/")[2], data, timeout=PATIENCE_S) as response:
        content: bytes = response.read()
    return content


def test_the_name_of_the_image_is_that_of_the_spec(folder: Path) -> None:
    commands = readme_commands("Service images")
    assert [command[:2] for command in commands[1:3]] == [["portalis", "init"], ["portalis", "build-images"]]
    subprocess.run([sys.executable, "-m", *commands[1]], cwd=folder, check=True, capture_output=True)
    spec = read_spec(folder / "portalis.toml")
    assert commands[3][-1] == planned_image(spec, spec.wasm_binaries[0]).reference
