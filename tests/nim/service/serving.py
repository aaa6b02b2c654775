"""A service in this process, over real HTTP on loopback, and a client for it."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from portalis.nim.service.app import create_app
from portalis.nim.service.http import DirectInference, uvicorn_config
from portalis.nim.service.settings import ServiceSettings
from tests.parts.lookup import check_marker
from tests.running import waiting
from tests.running.ports import free_port


@dataclass
class Client:
    """A client of one service. Every response is its status and its body: parsed JSON, or text."""

    port: int
    metrics_port: int
    grpc_port: int

    def get(self, path: str, *, port: int | None = None) -> tuple[int, Any]:
        return self.send(path, None, port=port)

    def send(self, path: str, body: bytes | None, *, port: int | None = None) -> tuple[int, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.port}{path}", data=body)
        try:
            with urllib.request.urlopen(request, timeout=waiting.PATIENCE_S) as response:
                return response.status, _read(response)
        except urllib.error.HTTPError as error:
            return error.code, _read(error)

    def infer(self, model: str, request: Any) -> tuple[int, Any]:
        return self.send(f"/v1/models/{model}/infer", json.dumps(request).encode())

    def wait_ready(self) -> None:
        ready = "/v1/health/ready"
        waiting.until(lambda: self.get(ready)[0] == 200, lambda: self.get(ready), every_s=0.02)

    def wait_loaded(self) -> None:
        """Wait until every model is ready or has failed."""
        ready = "/v1/health/ready"
        waiting.until(lambda: "still loading" not in str(self.get(ready)), lambda: self.get(ready), every_s=0.02)

    def metric(self, name: str) -> float:
        """The sum of the metrics whose lines begin with `name`."""
        lines = [line for line in self.get("/metrics")[1].splitlines() if line.startswith(name)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def _read(response: Any) -> Any:
    text = response.read().decode()
    return json.loads(text) if text and "json" in response.headers.get("content-type", "") else text


@contextlib.contextmanager
def serving(folder: Path, models: list[dict[str, Any]], **settings: Any) -> Iterator[Client]:
    """A service for the modules in `folder`; it might not be ready yet."""
    check_marker("service", "a service")
    client = Client(free_port(), free_port(), free_port())
    ports = {"service_port": client.port, "metrics_port": client.metrics_port, "grpc_port": client.grpc_port}
    app = create_app(ServiceSettings.model_validate({"models": models, **ports, **settings}), folder)
    direct = DirectInference(app.service)
    config = uvicorn_config(app, app.service.admission, logging.INFO, direct=direct, host="127.0.0.1", port=client.port)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield client
    finally:
        server.should_exit = True
        thread.join(timeout=waiting.PATIENCE_S)
        assert not thread.is_alive()


def tensor(name: str, array: np.ndarray) -> dict[str, Any]:
    """The JSON of an array, encoded without code of the service."""
    kinds = {"float32": "FP32", "uint8": "UINT8", "int64": "INT64", "int32": "INT32", "object": "BYTES"}
    data = [each.decode() if isinstance(each, bytes) else each for each in array.ravel().tolist()]
    return {"name": name, "datatype": kinds[array.dtype.name], "shape": list(array.shape), "data": data}


def array_of(output: Mapping[str, Any]) -> np.ndarray:
    """The array of an output's JSON."""
    kinds = {"FP32": "float32", "INT64": "int64", "INT32": "int32", "BYTES": "object"}
    data = [each.encode() if isinstance(each, str) else each for each in output["data"]]
    array = np.empty(len(data), dtype=object) if output["datatype"] == "BYTES" else np.zeros(len(data))
    array[:] = data
    return array.astype(kinds[output["datatype"]]).reshape(output["shape"])
