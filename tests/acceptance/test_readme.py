"""The lines that the README shows, run as it shows them."""

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


def shown(title: str = "Package modules") -> list[list[str]]:
    """The commands of a section of the README, without their comments."""
    section = (ROOT / "README.md").read_text().split(f"## {title}")[1]
    block = section.split("```console\n")[1].split("```")[0].replace("\\\n", " ")
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in block.splitlines() if line.startswith("$ ")]


def test_the_readme_shows_three_lines() -> None:
    assert [command[:2] for command in shown()] == [
        ["portalis", "init"],
        ["portalis", "package"],
        ["portalis", "serve"],
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(EXAMPLES["gelu"].module, tmp_path)
    return tmp_path


@pytest.mark.triton
def test_its_three_lines_serve_the_model(folder: Path) -> None:
    parts.tritonserver()
    init, package, serve = ([sys.executable, "-m", *command] for command in shown())
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
            answer = model.infer({"x": x})
        np.testing.assert_allclose(answer.outputs["y"], EXAMPLES["gelu"].reference({"x": x})["y"], rtol=1e-5, atol=1e-6)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=PATIENCE_S)
    assert server.returncode in (0, 130)


@pytest.mark.service
def test_its_requests_are_answered_by_the_service(folder: Path) -> None:
    run, _, _, _, health, infer = shown("Service images")
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    server = subprocess.Popen([sys.executable, "-m", *run, *ports], cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        url = next(found[1] for line in server.stderr if (found := re.search(r"HTTP (http://\S+)", line)))
        next(line for line in server.stderr if "ready" in line)
        assert json.loads(ask(url, health))["object"] == "health.response"
        y = json.loads(ask(url, infer))["outputs"][0]["data"]
        x = np.array(json.loads(infer[-1])["inputs"][0]["data"], np.float32)
        np.testing.assert_allclose(y, EXAMPLES["gelu"].reference({"x": x})["y"], rtol=1e-5, atol=1e-6)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=PATIENCE_S)
    assert server.returncode == 0


def ask(url: str, curl: list[str]) -> bytes:
    """What a line with curl gets from the service at `url` instead of the port that it names."""
    words = [word for word in curl if word.startswith("localhost:")]
    data = curl[curl.index("-d") + 1].encode() if "-d" in curl else None
    with urllib.request.urlopen(url + "/" + words[0].partition("/")[2], data, timeout=PATIENCE_S) as answer:
        found: bytes = answer.read()
    return found


def test_its_image_is_called_as_the_spec_says(folder: Path) -> None:
    commands = shown("Service images")
    assert [command[:2] for command in commands[1:3]] == [["portalis", "init"], ["portalis", "build-images"]]
    subprocess.run([sys.executable, "-m", *commands[1]], cwd=folder, check=True, capture_output=True)
    spec = read_spec(folder / "portalis.toml")
    assert commands[3][-1] == planned_image(spec, spec.wasm_binaries[0]).reference
