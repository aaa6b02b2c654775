"""The lines that the README shows, run as it shows them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from portalis.examples.catalog import EXAMPLES
from portalis.triton_client import RemoteModel
from tests import parts
from tests.parts import ROOT

READY = re.compile(r"gRPC (\S+)")


def shown() -> list[list[str]]:
    """The commands of the README's section on packaging, without their comments."""
    section = (ROOT / "README.md").read_text().split("## Package modules")[1]
    block = section.split("```console\n")[1].split("```")[0]
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
        with RemoteModel(url, "gelu", timeout_s=60) as model:
            answer = model.infer({"x": x})
        np.testing.assert_allclose(answer.outputs["y"], EXAMPLES["gelu"].reference({"x": x})["y"], rtol=1e-5, atol=1e-6)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    assert server.returncode in (0, 130)
