"""Runs a container of the Triton image on loopback, and sends requests to it."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from portalis.tritonserver import Ports
from tests.running import waiting
from tests.running.ports import free_ports

CONFINED: dict[str, Any] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": ""},
}
NAMES = {"float32": "FP32", "float64": "FP64", "int32": "INT32", "int64": "INT64", "uint8": "UINT8", "object": "BYTES"}


class Server:
    """A running container; `engine` is a `docker.APIClient`. The engine has no bridge, so it shares the host's network."""

    def __init__(self, engine: Any, container: str, ports: Ports) -> None:
        self.engine, self.container, self.ports = engine, container, ports

    def log(self) -> str:
        text: bytes = self.engine.logs(self.container)
        return text.decode(errors="replace")

    def state(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.engine.inspect_container(self.container)["State"]
        return found

    def ready(self) -> bool:
        with contextlib.suppress(OSError):
            url = f"http://127.0.0.1:{self.ports.http}/v2/health/ready"
            return bool(urllib.request.urlopen(url, timeout=5).status == 200)
        return False

    def wait(self) -> None:
        def ready() -> bool:
            assert self.state()["Running"], self.log()
            return self.ready()

        waiting.until(ready, self.log, every_s=0.1)

    def infer(self, protocol: ModuleType, model: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Send one request. `protocol` is tritonclient.grpc or tritonclient.http."""
        grpc = protocol.__name__.endswith("grpc")
        client = protocol.InferenceServerClient(f"127.0.0.1:{self.ports.grpc if grpc else self.ports.http}")
        tensors = []
        for name, array in inputs.items():
            tensor = protocol.InferInput(name, list(array.shape), NAMES[array.dtype.name])
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        with contextlib.closing(client):
            result = client.infer(model, tensors)
            response = result.get_response()
            outputs = response.outputs if grpc else response["outputs"]
            names = [each.name if grpc else each["name"] for each in outputs]
            return {name: result.as_numpy(name) for name in names}

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.ports.metrics}/metrics", timeout=waiting.PATIENCE_S
        ) as page:
            lines = page.read().decode().splitlines()
        return {k: float(v) for k, _, v in (line.rpartition(" ") for line in lines if not line.startswith("#"))}

    def metric(self, name: str, model: str) -> float:
        """The sum over the model's processes: those of the backend have the label `pid`."""
        return sum(value for key, value in self.metrics().items() if key.startswith(f'{name}{{model="{model}",'))

    def execute(self, *command: str) -> tuple[int, str]:
        """The status and the output of a command in the container."""
        made = self.engine.exec_create(self.container, list(command))["Id"]
        output: bytes = self.engine.exec_start(made)
        return int(self.engine.exec_inspect(made)["ExitCode"]), output.decode()

    def stop(self) -> int:
        """Send SIGTERM, then SIGKILL after a timeout. Returns the exit status."""
        self.engine.stop(self.container, timeout=int(waiting.PATIENCE_S))
        return int(self.engine.wait(self.container, timeout=waiting.PATIENCE_S)["StatusCode"])


@contextlib.contextmanager
def serving(
    engine: Any, image: str, repository: Path, *, user: str | None = None, more: Sequence[str] = (), **host: Any
) -> Iterator[Server]:
    """`image` serving `repository` on free ports of loopback, once it is ready. `host` are further options of the
    container's host configuration."""
    ports = free_ports()
    command = ["tritonserver", "--model-repository=/models", "--http-address=127.0.0.1", "--grpc-address=127.0.0.1"]
    command += ["--metrics-address=127.0.0.1", f"--http-port={ports.http}", f"--grpc-port={ports.grpc}"]
    command += [f"--metrics-port={ports.metrics}", *more]
    made = engine.create_container(
        image,
        command,
        user=user,
        host_config=engine.create_host_config(
            network_mode="host", binds={str(repository): {"bind": "/models", "mode": "ro"}}, shm_size="256m", **host
        ),
        # omitted settings are those of the image
        healthcheck={"interval": 10**9},
    )["Id"]
    try:
        engine.start(made)
        server = Server(engine, made, ports)
        server.wait()
        yield server
    finally:
        engine.remove_container(made, force=True, v=True)
