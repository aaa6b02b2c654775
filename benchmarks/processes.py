"""Server processes of the benchmarks: the service with one module, and the hand-written FastAPI application."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.running.ports import free_port

FASTAPI_APP = Path(__file__).parent / "models/softmax_fastapi.py"


@dataclass(frozen=True)
class Ports:
    """The ports of a running service on 127.0.0.1."""

    http: int
    grpc: int

    def url(self, protocol: str) -> str:
        """``host:port`` of a protocol, as clients of Triton expect it."""
        return f"127.0.0.1:{self.http if protocol == 'http' else self.grpc}"


@contextlib.contextmanager
def service(
    folder: Path,
    name: str,
    module: bytes,
    interface: Mapping[str, Any] | None = None,
    prefix: Sequence[str] = (),
    **changes: Any,
) -> Iterator[Ports]:
    """Run the service with one module, with its files in `folder`; yields its ports once it is ready.

    `interface` overrides keys of the module's interface; `changes` are settings of ``service.json``, and
    `prefix` precedes the command line.
    """
    ports, metrics = Ports(free_port(), free_port()), free_port()
    (folder / f"{name}.wasm").write_bytes(module)
    model = {"name": name, "file": f"{name}.wasm", "interface": dict(interface or {})}
    numbers = {"service_port": ports.http, "grpc_port": ports.grpc, "metrics_port": metrics}
    settings = folder / "service.json"
    settings.write_text(json.dumps({"models": [model], **numbers, **changes}))
    command = [*prefix, sys.executable, "-m", "portalis.nim.service", str(settings), "--log-level", "warning"]
    with running(command, f"http://127.0.0.1:{ports.http}/v1/health/ready"):
        yield ports


@contextlib.contextmanager
def fastapi() -> Iterator[int]:
    """Run the hand-written application; yields its port."""
    port = free_port()
    with running([sys.executable, str(FASTAPI_APP), str(port)], f"http://127.0.0.1:{port}/openapi.json"):
        yield port


@contextlib.contextmanager
def running(command: list[str], url: str) -> Iterator[None]:
    """Run `command`; yields once `url` responds with 200, and ends the process afterwards.

    Raises RuntimeError if it ends, or does not respond within 60 s.
    """
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(url, timeout=5).close()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command} does not respond at {url}")
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)
