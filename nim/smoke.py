"""Tries an image: a container of it starts as it is meant to be confined, becomes healthy, infers, and stops."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..spec.container import ContainerConfiguration
from .dockerfile import READY
from .engine import Engine
from .image import EngineFailed

REQUEST_S = 30
ANY_USER = "54321:0"  # as OpenShift does: a user id that no image knows, in the group root


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoke:
    """How it went: seconds until the container was healthy, whether the engine's own check said so (Podman leaves the
    check out of images in OCI's format), the model's answer, the exit status."""

    healthy_after_s: float
    checked_by_engine: bool
    answer: Mapping[str, Any]
    exit_status: int


def smoke(
    engine: Engine,
    reference: str,
    *,
    config: ContainerConfiguration,
    model: str,
    request: Mapping[str, Any],
    timeout_s: float = 120,
) -> Smoke:
    """Run the image `reference` with the service's own entrypoint, and send `request` (``{"inputs": [...]}``) to
    `model`.

    The container gets the user id 54321, which nothing in the image belongs to. On an engine without a bridge network
    it shares the host's, on free ports. Raises EngineFailed with the container's log.
    """
    service, metrics = _free_port(), _free_port()
    inside = {config.service_port: service, config.metrics_port: metrics}
    environment, network, ports = {}, None, inside
    if not engine.has_bridge():
        environment = {"SERVICE_PORT": str(service), "METRICS_PORT": str(metrics)}
        network, ports = "host", {}
    user = ANY_USER if config.run_as_non_root else None
    began = time.monotonic()
    container = engine.start(reference, config=config, environment=environment, network=network, ports=ports, user=user)
    try:
        checked = bool(engine.inspect(reference).config.get("Healthcheck"))
        _wait(engine, container, reference, None if checked else service, began + timeout_s)
        healthy_after_s = time.monotonic() - began
        _ask(service, READY)
        answer = _ask(service, f"/v1/models/{model}/infer", request)
        exit_status = engine.stop(container)
    except _Refused as refusal:
        raise _failed(engine, container, reference, str(refusal)) from None
    finally:
        engine.discard(container)
    return Smoke(healthy_after_s=healthy_after_s, checked_by_engine=checked, answer=answer, exit_status=exit_status)


class _Refused(Exception):
    pass


def _wait(engine: Engine, container: str, reference: str, port: int | None, deadline: float) -> None:
    """Until the engine calls the container healthy or, with a `port`, the service there says that it is ready."""
    while True:
        state = engine.state(container)
        health = state.get("Health") or {}
        status = str(health.get("Status", ""))
        told = [str(probe.get("Output", "")).strip() for probe in health.get("Log") or ()]
        if port is None and status == "healthy":
            return
        if state.get("Status") not in ("created", "running"):
            raise _failed(engine, container, reference, f"ended with exit status {state.get('ExitCode')}")
        if port is not None:
            try:
                _ask(port, READY)
                return
            except _Refused as refusal:
                told = [str(refusal)]
        if status == "unhealthy" or time.monotonic() > deadline:
            raise _failed(engine, container, reference, f"is {status or 'not healthy'}: {(told or ['?'])[-1]}")
        time.sleep(0.1)


def _failed(engine: Engine, container: str, reference: str, how: str) -> EngineFailed:
    return EngineFailed(
        f"a container of {reference} {how}",
        remediation="See the container's log above; `portalis infer` runs the module without a container.",
        log=engine.log(container),
    )


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


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
