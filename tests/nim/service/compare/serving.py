"""Starts a real Triton and the service with the same modules."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from portalis.tritonserver import TritonServer
from tests.nim.service.serving import serving
from tests.running.waiting import PATIENCE_S

from .exchange import Server
from .modules import write_controlled_repository, write_controlled_service, write_repository, write_service


@contextlib.contextmanager
def both_servers(folder: Path, backends: Path) -> Iterator[tuple[Server, Server]]:
    """A Triton with the backend directory `backends`, and the service; both are ready."""
    repository, modules = folder / "repository", folder / "modules"
    modules.mkdir()
    write_repository(repository)
    with _started(repository, modules, backends, {"models": write_service(modules)}) as servers:
        yield servers


@contextlib.contextmanager
def both_controlled(folder: Path, backends: Path) -> Iterator[tuple[Server, Server]]:
    """The same with explicit model control, and no model loaded."""
    repository, modules = folder / "controlled_repository", folder / "controlled_modules"
    modules.mkdir()
    write_controlled_repository(repository)
    with _started(repository, modules, backends, write_controlled_service(modules)) as servers:
        yield servers


@contextlib.contextmanager
def _started(
    repository: Path, modules: Path, backends: Path, settings: dict[str, Any]
) -> Iterator[tuple[Server, Server]]:
    control = settings.get("model_control")
    with (
        serving(modules, **settings) as client,
        TritonServer(
            repository, backend_directory=backends, model_control=control, start_timeout_s=PATIENCE_S
        ) as triton,
    ):
        client.wait_ready()
        ports = triton.ports
        with Server(ports.http, ports.grpc) as theirs, Server(client.port, client.grpc_port) as ours:
            yield theirs, ours
