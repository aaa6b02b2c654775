"""`portalis build-images --triton` for a user without a checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nim.triton.base import Base

pytestmark = pytest.mark.slow


def build(base: Base, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "portalis", "build-images", "--triton", *arguments]
    command += ["--wheelhouse", str(base.wheelhouse)] if base.wheelhouse else []
    environment = {**os.environ, **({"DOCKER_HOST": base.host} if base.host else {})}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_image_is_built_and_smoke_tested_with_a_module(base: Base, tmp_path: Path) -> None:
    done = build(base, tmp_path, "--triton-image", base.image, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["image"].startswith("portalis-triton:")
    assert base.engine.inspect_image(result["image"])["Id"] == result["id"]
    assert "with gelu as a model; ended with exit status 0 on SIGTERM" in result["tried"]
    assert "user 54321:0, no new privileges, read-only root, without capabilities ALL" in result["tried"]
    assert not list(tmp_path.iterdir())
    base.engine.remove_image(result["image"], force=True)


def test_a_build_that_fails_leaves_its_log(base: Base, tmp_path: Path) -> None:
    done = build(base, tmp_path, "--triton-image", "localhost:1/no-such/image:1")
    assert done.returncode == 1
    log = tmp_path / "portalis-triton.build.log"
    assert f"  The whole log is in {log}" in done.stderr.splitlines() and "Traceback" not in done.stderr
    assert "FROM" in log.read_text()
