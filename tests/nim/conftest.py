"""The real engines, and one image on each that tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from portalis.engines.container_engine import ContainerEngine
from portalis.engines.image import Image
from portalis.spec.container import ContainerRuntime
from tests import parts
from tests.running import session

from . import images


@pytest.fixture(scope="session")
def docker() -> Iterator[ContainerEngine]:
    """A Docker engine that has the base image and ends with the session."""
    with ContainerEngine.find(environment={"DOCKER_HOST": parts.docker_engine()}) as engine:
        yield engine


@pytest.fixture(scope="session")
def podman() -> Iterator[ContainerEngine]:
    """A Podman service that has the base image and ends with the session."""
    with ContainerEngine.find(ContainerRuntime.Podman, {"CONTAINER_HOST": parts.podman_engine()}) as engine:
        yield engine


@pytest.fixture(scope="session")
def softmax_context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build context of the shared image."""
    folder = tmp_path_factory.mktemp("context")
    images.context().write_to(folder)
    return folder


@pytest.fixture(scope="session")
def docker_image(docker: ContainerEngine, softmax_context: Path) -> Image:
    """The shared image on Docker."""
    return _built("docker", docker, softmax_context)


@pytest.fixture(scope="session")
def podman_image(podman: ContainerEngine, softmax_context: Path) -> Image:
    """The shared image on Podman."""
    return _built("podman", podman, softmax_context)


def _built(name: str, engine: ContainerEngine, folder: Path) -> Image:
    """Build on the engine; a later process uses its build cache."""
    lines: list[str] = []
    with session.lock(f"image-{name}"):
        made = images.build(engine, folder, lines.append)
    assert any(line.startswith("Successfully tagged") for line in lines)
    return made
