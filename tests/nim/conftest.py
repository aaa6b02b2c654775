"""The real engine that images are built and run on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portalis.nim.engine import Engine
from tests import parts


@pytest.fixture(scope="session")
def docker() -> Iterator[Engine]:
    """A Docker engine that has the base image and ends with the session."""
    with Engine.find(environment={"DOCKER_HOST": parts.docker_engine()}) as engine:
        yield engine
