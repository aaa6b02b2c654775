"""The image, built once on each available base image, and the model repository that it serves."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from portalis.examples.catalog import EXAMPLES
from tests.backend import guests
from tests.backend.triton import models
from tests.layout.tree import copy_tree
from tests.nim.triton.base import Base, local_base, ngc_base

TAG = "portalis-test/triton:1"
WITH_CONFIG = ("softmax", "nms")


@dataclass(frozen=True, kw_only=True)
class Built:
    """The image `image`, and its base."""

    base: Base
    checkout: Path
    image: str = TAG

    @property
    def engine(self) -> Any:
        return self.base.engine

    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = self.engine.inspect_image(self.image)["Config"]
        return found


@pytest.fixture(scope="session", params=["local", "ngc"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    found = ngc_base() if request.param == "ngc" else local_base(tmp_path_factory.mktemp("base"))
    yield found
    found.engine.close()


@pytest.fixture(scope="session")
def built(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The image as users build it: with the docker command, from a clone."""
    docker = shutil.which("docker")
    assert docker is not None
    clone = copy_tree(tmp_path_factory.mktemp("clone"))
    if base.wheelhouse is not None:
        shutil.copytree(base.wheelhouse, clone / "wheelhouse")
    command = [
        docker,
        "build",
        "--file",
        "Dockerfile.triton",
        "--tag",
        TAG,
        "--build-arg",
        f"TRITON_IMAGE={base.image}",
    ]
    command += ["--network", "none" if base.wheelhouse else "default", "."]
    environment = {**os.environ, "DOCKER_BUILDKIT": "0", **({"DOCKER_HOST": base.host} if base.host else {})}
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    yield Built(base=base, checkout=clone)
    base.engine.remove_image(TAG, force=True)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Examples with a config.pbtxt, one that is a bare module, and a module that traps when x is 1."""
    folder = tmp_path_factory.mktemp("models")
    for name in WITH_CONFIG:
        models.write(folder, name, EXAMPLES[name].module.read_bytes())
    models.write(folder, "gelu.wasm", EXAMPLES["gelu"].module.read_bytes(), config=None)
    models.write(folder, "moody", guests.when_asked("unreachable"))
    # the container runs as a different user
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder
