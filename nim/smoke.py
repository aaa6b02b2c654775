"""Smoke test of a service image: start a container with its deployment's restrictions, infer, and stop it."""

from __future__ import annotations

import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..engines.confinement import Confinement, smoke_test_confinement
from ..engines.container_engine import ContainerEngine
from ..engines.containers import Container
from ..engines.errors import EngineFailed
from ..free_ports import free_ports
from ..spec.container import READY_PATH, ContainerConfiguration
from ..target import Module

_REQUEST_S = 30
_READY_S = 120.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeTestReport:
    """The results of a successful smoke test."""

    healthy_after_s: float
    """Seconds until the container was healthy."""
    checked_by_engine: bool
    """Whether the image has a health check; an image in OCI format has none, and is queried by the test itself."""
    responses: Mapping[str, Mapping[str, Any]]
    """The response of each model."""
    over_grpc: bool | None
    """Whether the models responded over gRPC too; None if no client is installed."""
    exit_status: int
    """The exit status after SIGTERM."""
    confinement: Confinement

    def describe(self) -> str:
        """The results in one sentence, for the report."""
        protocols = "HTTP and gRPC" if self.over_grpc else "HTTP (gRPC was not tested: tritonclient is not installed)"
        check = f"{READY_PATH}, as the image has no health check"
        if self.checked_by_engine:
            check = "its own health check"
        return (
            f"healthy after {self.healthy_after_s:.1f} s (by {check}); {', '.join(self.responses)} answered over"
            f" {protocols}; ended with exit status {self.exit_status} on SIGTERM;"
            f" run with {self.confinement.describe()}"
        )


def smallest_request(module: Module) -> dict[str, Any]:
    """A request with the smallest shapes and only zeros, as ``POST /v1/models/{name}/infer`` accepts it.

    It has the required inputs only; all inputs, if none is required.
    """
    interface = module.inspection.interface
    assert interface is not None
    needed = [spec for spec in interface.inputs if not spec.optional] or list(interface.inputs)
    tensors = []
    for spec in needed:
        shape = ([1] if interface.max_batch_size else []) + [max(size, 1) for size in spec.dims]
        zero: Any = "" if spec.dtype.name == "BYTES" else False if spec.dtype.name == "BOOL" else 0
        data = [zero] * math.prod(shape)
        tensors.append({"name": spec.name, "datatype": spec.dtype.name, "shape": shape, "data": data})
    return {"inputs": tensors}


def smoke_test(
    engine: ContainerEngine,
    reference: str,
    *,
    config: ContainerConfiguration,
    requests: Mapping[str, Mapping[str, Any]],
    timeout_s: float = _READY_S,
) -> SmokeTestReport:
    """Run the image `reference` and send each of the `requests` (``{"inputs": [...]}``, by model) to its model.

    On an engine without a bridge network the container uses the host's network, on free ports. Raises EngineFailed with
    the container's log if the container does not become healthy, a model does not respond, or the service does not end
    with status 0 on SIGTERM.
    """
    confinement = smoke_test_confinement(config, engine.capabilities())
    container_ports = {
        "SERVICE_PORT": config.service_port,
        "GRPC_PORT": config.grpc_port,
        "METRICS_PORT": config.metrics_port,
    }
    host_ports = dict(zip(container_ports, free_ports(len(container_ports))))
    environment, network = {}, None
    ports = {container_ports[name]: host_ports[name] for name in container_ports}
    if not engine.has_bridge():
        environment = {name: str(port) for name, port in host_ports.items()}
        network, ports = "host", {}
    began = time.monotonic()
    with engine.start(reference, confinement, environment=environment, network=network, ports=ports) as container:
        try:
            port = host_ports["SERVICE_PORT"]
            _wait_until_healthy(container, None if container.has_health_check else port, began + timeout_s)
            healthy_after_s = time.monotonic() - began
            _request(port, READY_PATH)
            responses = {model: _request(port, f"/v1/models/{model}/infer", body) for model, body in requests.items()}
            over_grpc = _infer_over_grpc(host_ports["GRPC_PORT"], requests)
            exit_status = container.stop()
            # a custom entry point may handle the signal differently
            if exit_status and not config.entrypoint:
                raise _SmokeTestError(f"ended with exit status {exit_status} on SIGTERM, expected 0")
        except _SmokeTestError as error:
            raise EngineFailed(
                f"a container of {reference} {error}",
                remediation="See the container's log above; `portalis infer` runs the module without a container.",
                log=container.log(),
            ) from None
    return SmokeTestReport(
        healthy_after_s=healthy_after_s,
        checked_by_engine=container.has_health_check,
        responses=responses,
        over_grpc=over_grpc,
        exit_status=exit_status,
        confinement=confinement,
    )


class _SmokeTestError(Exception):
    """A failed step of the test; the message continues "a container of <image> …"."""


def _wait_until_healthy(container: Container, port: int | None, deadline: float) -> None:
    """Wait until the engine reports the container as healthy or, with a `port`, until the service there is ready."""
    while True:
        state = container.state()
        health = state.get("Health") or {}
        status = str(health.get("Status", ""))
        outputs = [str(probe.get("Output", "")).strip() for probe in health.get("Log") or ()]
        if port is None and status == "healthy":
            return
        if state.get("Status") not in ("created", "running"):
            raise _SmokeTestError(f"ended with exit status {state.get('ExitCode')}")
        if port is not None:
            try:
                _request(port, READY_PATH)
                return
            except _SmokeTestError as error:
                outputs = [str(error)]
        if status == "unhealthy" or time.monotonic() > deadline:
            raise _SmokeTestError(f"is {status or 'not healthy'}: {(outputs or ['?'])[-1]}")
        time.sleep(_POLL_S)


def _request(port: int, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=data, headers={"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_REQUEST_S) as response:
            document: Mapping[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        text = error.read(4000).decode(errors="replace")
        raise _SmokeTestError(f"responds to {path} with status {error.code}: {text}") from None
    except (OSError, ValueError) as error:
        raise _SmokeTestError(f"does not respond to {path}: {error}") from None
    return document


def _infer_over_grpc(port: int, requests: Mapping[str, Mapping[str, Any]]) -> bool | None:
    """Send the requests over gRPC. Returns True, or None if no client is installed."""
    try:
        import numpy as np
        from tritonclient import grpc
        from tritonclient.utils import InferenceServerException, triton_to_np_dtype
    except ImportError:
        return None
    with grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        for model, body in requests.items():
            inputs = []
            for tensor in body["inputs"]:
                is_bytes = tensor["datatype"] == "BYTES"
                data = [text.encode() for text in tensor["data"]] if is_bytes else tensor["data"]
                array = np.array(data, object if is_bytes else triton_to_np_dtype(tensor["datatype"]))
                inputs.append(grpc.InferInput(tensor["name"], tensor["shape"], tensor["datatype"]))
                inputs[-1].set_data_from_numpy(array.reshape(tensor["shape"]))
            try:
                client.infer(model, inputs, client_timeout=_REQUEST_S)
            except InferenceServerException as error:
                raise _SmokeTestError(f"responds to a gRPC request for {model} with an error: {error}") from None
    return True
