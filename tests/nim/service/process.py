"""The service in a separate process, started as in an image."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wasmtime

from tests.parts import ROOT
from tests.parts.lookup import check_marker
from tests.running import waiting
from tests.running.ports import free_port

from .serving import Client

VARIABLES = ("NIM_", "PORTALIS_", "SERVICE_PORT", "METRICS_PORT", "GRPC_PORT", "NGC_")
# 20 million iterations per element, so that requests are certainly in progress when a signal arrives
SLOW = """(module (func (export "slow") (param $x f32) (result f32) (local $i i32)
  (loop $again
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $again (i32.lt_u (local.get $i) (i32.const 20000000))))
  (f32.add (local.get $x) (f32.const 1))))"""
# 50 million iterations for inputs above 100, a trap for negative ones
MOODY = """(module (func (export "moody") (param $x f32) (result f32) (local $i i32)
  (if (f32.lt (local.get $x) (f32.const 0)) (then (unreachable)))
  (if (f32.gt (local.get $x) (f32.const 100)) (then
    (loop $again
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 50000000))))))
  (f32.add (local.get $x) (f32.const 1))))"""
SPIN = '(module (func (export "spin") (param $x f32) (result f32) (loop br 0) (f32.const 0)))'


def body(*values: float) -> bytes:
    """The body of a request for a model with one FP32 input."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, len(values)], "data": values}
    return json.dumps({"inputs": [tensor]}).encode()


def write_modules(folder: Path, **modules: str) -> list[dict[str, Any]]:
    """Write modules from their WAT; returns the models for ``service.json``."""
    for name, text in modules.items():
        (folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(text))
    return [{"name": name, "file": f"{name}.wasm"} for name in modules]


@dataclass
class Service:
    """A running service; `log` has the lines that it has written so far."""

    process: subprocess.Popen[str]
    client: Client
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))

    def wait_for_line(self, fragment: str) -> str:
        """The first line of the log that contains `fragment`."""
        line: str = self._until(lambda: next((line for line in list(self.log) if fragment in line), ""))
        return line

    def wait_ready(self) -> None:
        """Wait until the health endpoint reports that the service is ready."""
        self._until(self._is_ready)

    def _is_ready(self) -> bool:
        try:
            return self.client.get("/v1/health/ready")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _until(self, condition: Any) -> Any:
        def condition_while_running() -> Any:
            result = condition()
            assert result or self.process.poll() is None, self.text()
            return result

        return waiting.until(condition_while_running, self.text, every_s=0.02)

    def end(self) -> int:
        """Wait until the service has ended on its own; returns the exit status."""
        status = self.process.wait(waiting.PATIENCE_S)
        self._reader.join(waiting.PATIENCE_S)
        return status

    def text(self) -> str:
        """The log."""
        return "\n".join(self.log)

    def records(self) -> list[dict[str, Any]]:
        """The records of the log, which is JSON lines."""
        return [json.loads(line) for line in self.log]


@contextlib.contextmanager
def running(
    folder: Path,
    models: list[dict[str, Any]],
    *options: str,
    environment: dict[str, str] | None = None,
    **settings: Any,
) -> Iterator[Service]:
    """A service for the modules in `folder`, in a separate process; it might not listen yet."""
    check_marker("service", "a service")
    client = Client(free_port(), free_port(), free_port())
    ports = {"service_port": client.port, "metrics_port": client.metrics_port, "grpc_port": client.grpc_port}
    file = folder / "service.json"
    file.write_text(json.dumps({"models": models, **ports, **settings}))
    clean = {key: value for key, value in os.environ.items() if not key.startswith(VARIABLES)}
    cache = {"NIM_CACHE_PATH": str(folder / "cache")}
    command = [sys.executable, "-m", "portalis.nim.service", str(file), *options]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**clean, **cache, **(environment or {})}, stderr=subprocess.PIPE, text=True
    )
    try:
        yield Service(process, client)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(waiting.PATIENCE_S)
