"""Starts a real Triton and the service with the same modules."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from portalis.tritonserver import TritonServer
from tests.nim.service.serving import serving
from tests.running.waiting import PATIENCE_S

from .exchange import Server
from .modules import write_repository, write_service


@contextlib.contextmanager
def both_servers(folder: Path, backends: Path) -> Iterator[tuple[Server, Server]]:
    """A Triton with the backend directory `backends`, and the service; both are ready."""
    repository, modules = folder / "repository", folder / "modules"
    modules.mkdir()
    write_repository(repository)
    with (
        serving(modules, write_service(modules)) as client,
        TritonServer(repository, backend_directory=backends, start_timeout_s=PATIENCE_S) as triton,
    ):
        client.wait_ready()
        ports = triton.ports
        with Server(ports.http, ports.grpc) as theirs, Server(client.port, client.grpc_port) as ours:
            yield theirs, ours
