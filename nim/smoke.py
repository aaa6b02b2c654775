"""Tries an image: a container of it starts as it is meant to be confined, becomes healthy, infers, and stops."""

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

REQUEST_S = 30
READY_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoke:
    """How it went: seconds until the container was healthy, whether the image's own health check said so (an image in
    OCI's format has none), each model's answer, whether it answered over gRPC too (None where no client is installed),
    the exit status after SIGTERM, and how it was confined."""

    healthy_after_s: float
    checked_by_engine: bool
    answers: Mapping[str, Mapping[str, Any]]
    over_grpc: bool | None
    exit_status: int
    confinement: Confinement

    def told(self) -> str:
        """In words, for a report."""
        protocols = "HTTP and gRPC" if self.over_grpc else "HTTP (gRPC was not tried: tritonclient is not installed)"
        by = (
            "by its own health check"
            if self.checked_by_engine
            else f"by {READY_PATH}: it has no health check of its own"
        )
        return (
            f"healthy after {self.healthy_after_s:.1f} s ({by}); {', '.join(self.answers)} answered over {protocols};"
            f" ended with exit status {self.exit_status} on SIGTERM; run with {self.confinement.describe()}"
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


def smoke(
    engine: ContainerEngine,
    reference: str,
    *,
    config: ContainerConfiguration,
    requests: Mapping[str, Mapping[str, Any]],
    timeout_s: float = READY_S,
) -> Smoke:
    """Run the image `reference`, and send each of the `requests` (``{"inputs": [...]}``, by model) to its model.

    On an engine without a bridge network the container shares the host's, on free ports. Raises EngineFailed, with
    the container's log, where it does not become healthy, does not answer, or does not end by itself on SIGTERM.
    """
    confinement = smoke_test_confinement(config, engine.capabilities())
    names = {
        "SERVICE_PORT": config.service_port,
        "GRPC_PORT": config.grpc_port,
        "METRICS_PORT": config.metrics_port,
    }
    outside = dict(zip(names, free_ports(len(names))))
    environment, network, ports = {}, None, {names[name]: outside[name] for name in names}
    if not engine.has_bridge():
        environment = {name: str(port) for name, port in outside.items()}
        network, ports = "host", {}
    began = time.monotonic()
    with engine.start(reference, confinement, environment=environment, network=network, ports=ports) as container:
        try:
            port = outside["SERVICE_PORT"]
            _wait(container, None if container.has_health_check else port, began + timeout_s)
            healthy_after_s = time.monotonic() - began
            _ask(port, READY_PATH)
            answers = {model: _ask(port, f"/v1/models/{model}/infer", body) for model, body in requests.items()}
            over_grpc = _ask_grpc(outside["GRPC_PORT"], requests)
            exit_status = container.stop()
            # what another entrypoint does with the signal is its own business
            if exit_status and not config.entrypoint:
                raise _Refused(f"ended with exit status {exit_status} on SIGTERM, and not with 0")
        except _Refused as refusal:
            raise EngineFailed(
                f"a container of {reference} {refusal}",
                remediation="See the container's log above; `portalis infer` runs the module without a container.",
                log=container.log(),
            ) from None
    return Smoke(
        healthy_after_s=healthy_after_s,
        checked_by_engine=container.has_health_check,
        answers=answers,
        over_grpc=over_grpc,
        exit_status=exit_status,
        confinement=confinement,
    )


class _Refused(Exception):
    pass


def _wait(container: Container, port: int | None, deadline: float) -> None:
    """Until the engine calls the container healthy or, with a `port`, the service there says that it is ready."""
    while True:
        state = container.state()
        health = state.get("Health") or {}
        status = str(health.get("Status", ""))
        told = [str(probe.get("Output", "")).strip() for probe in health.get("Log") or ()]
        if port is None and status == "healthy":
            return
        if state.get("Status") not in ("created", "running"):
            raise _Refused(f"ended with exit status {state.get('ExitCode')}")
        if port is not None:
            try:
                _ask(port, READY_PATH)
                return
            except _Refused as refusal:
                told = [str(refusal)]
        if status == "unhealthy" or time.monotonic() > deadline:
            raise _Refused(f"is {status or 'not healthy'}: {(told or ['?'])[-1]}")
        time.sleep(0.1)


def _ask(port: int, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=data, headers={"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=REQUEST_S) as answer:
            found: Mapping[str, Any] = json.load(answer)
    except urllib.error.HTTPError as refusal:
        raise _Refused(f"answers {path} with {refusal.code}: {refusal.read(4000).decode(errors='replace')}") from None
    except (OSError, ValueError) as problem:
        raise _Refused(f"does not answer {path}: {problem}") from None
    return found


def _ask_grpc(port: int, requests: Mapping[str, Mapping[str, Any]]) -> bool | None:
    """Send the requests over gRPC; None where there is no client for it."""
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
                texts = tensor["datatype"] == "BYTES"
                data = [text.encode() for text in tensor["data"]] if texts else tensor["data"]
                array = np.array(data, object if texts else triton_to_np_dtype(tensor["datatype"]))
                inputs.append(grpc.InferInput(tensor["name"], tensor["shape"], tensor["datatype"]))
                inputs[-1].set_data_from_numpy(array.reshape(tensor["shape"]))
            try:
                client.infer(model, inputs, client_timeout=REQUEST_S)
            except InferenceServerException as problem:
                raise _Refused(f"answers a request for {model} over gRPC with {problem}") from None
    return True
