"""`portalis run`: the service application of the images, in this process."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import MissingPart, PortalisError, UsageError
from ..free_ports import PORT_MAX, free_ports

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..nim.service.models import ServedModel
    from ..nim.service.service import Service
    from ..nim.service.settings import ServiceSettings

OPTIONS = {"service_port": "--http-port", "grpc_port": "--grpc-port", "metrics_port": "--metrics-port"}
PARTS = ("fastapi", "uvicorn", "prometheus_client", "grpc")


def run(
    modules: Annotated[
        list[Path], typer.Argument(metavar="MODULE…", help="The .wasm files, a folder with a service.json, or a spec.")
    ],
    name: Annotated[str | None, typer.Option(help="What a single module is called, instead of its file.")] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on. 0.0.0.0 opens the service to the network.")
    ] = "127.0.0.1",
    http_port: Annotated[int | None, typer.Option(help="HTTP port, else 8000; 0 picks a free one.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="gRPC port, else 8001; 0 picks a free one.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Port of the metrics alone, else 9090; 0 picks a free one.")
    ] = None,
    max_request_bytes: Annotated[
        int | None, typer.Option(help="A larger request is refused with 413; else 64 MiB.", min=1)
    ] = None,
    max_queued_requests: Annotated[
        int | None, typer.Option(help="Requests that wait for a model before the next gets 429; else 256.", min=1)
    ] = None,
    max_connections: Annotated[
        int | None, typer.Option(help="Connections of HTTP, and as many of gRPC; else 1000.", min=1)
    ] = None,
    max_response_bytes: Annotated[
        int | None, typer.Option(help="A response with larger tensors is answered with 500; else 256 MiB.", min=1)
    ] = None,
    log_level: Annotated[str, typer.Option(metavar="LEVEL", help="debug, info, warning, error or critical.")] = "info",
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log JSON lines, as images do.")] = False,
) -> None:
    """Serve modules over HTTP and gRPC until Ctrl-C, as a service image does, without a container.

    What cannot be called without saying how is described in a spec file (`portalis init`) or in the module itself
    (`portalis annotate`).

    Examples:

    portalis run softmax.wasm

    portalis run portalis.toml --http-port 8080 --log-level debug
    """
    _need_parts()
    from ..nim.local import staged
    from ..nim.service.logs import LEVELS, LogOptions, configure_logging

    level = LEVELS.get(log_level.upper())
    if level is None:
        raise UsageError(f"--log-level {log_level}: there is no such level", remediation=f"Use {_either(LEVELS)}.")
    changes: dict[str, Any] = {"max_request_bytes": max_request_bytes, "max_queued_requests": max_queued_requests}
    changes |= {"max_connections": max_connections, "max_response_bytes": max_response_bytes}
    changes |= _ports(host, {"service_port": http_port, "grpc_port": grpc_port, "metrics_port": metrics_port})
    with staged(modules, name, {key: value for key, value in changes.items() if value is not None}) as staging:
        _check_ports(staging.settings)
        configure_logging(LogOptions(level, json_lines=json_logs))
        for left_out in staging.left_out:
            _say(left_out)
        # uvicorn's word on starting and ending is for those who look for trouble
        raise typer.Exit(
            _serve(
                staging.settings,
                staging.folder,
                host,
                level if level < LEVELS["INFO"] else max(level, LEVELS["WARNING"]),
            )
        )


def _serve(settings: ServiceSettings, folder: Path, host: str, level: int) -> int:
    from ..nim.service.serving import PortUnavailable, serve

    try:
        return serve(settings, folder, host=host, level=level, port_options=OPTIONS, on_change=Announcer().changed)
    except PortUnavailable as problem:
        raise PortalisError(
            str(problem), remediation=f"Choose another with {', '.join(OPTIONS.values())}; 0 picks a free one."
        ) from None


class Announcer:
    """Says where the service is and how to ask it, and which models are ready, whenever that changes."""

    def __init__(self) -> None:
        self._announced: set[str] = set()
        self._said = ""

    def changed(self, service: Service) -> bool:
        """Say what is new; whether there is or will be anything to ask."""
        models = service.models.values()
        ready = [model for model in models if model.ready]
        is_loading = any(not model.ready and not model.failure for model in models)
        if ready and not self._announced:
            _say(_addresses(service))
        for model in ready:
            if model.name not in self._announced:
                self._announced.add(model.name)
                _say(_example(service, model))
        if not ready and not is_loading:
            _say("no model could be loaded")
            return False
        if not is_loading and (summary := _summary(models)) != self._said:
            self._said = summary
            _say(summary)
        return True


def _summary(models: Collection[ServedModel]) -> str:
    """Whether the service is ready, as its health says."""
    ready = sum(model.ready for model in models)
    if ready == len(models):
        return "ready; Ctrl-C stops"
    failed = ", ".join(model.name for model in models if not model.ready)
    count = f"{ready} of {len(models)} models {'is' if ready == 1 else 'are'} ready"
    return f"{count}; {failed} failed (/v1/health/ready answers 503); Ctrl-C stops"


def _addresses(service: Service) -> str:
    settings, host = service.settings, _host(service)
    metrics = f"metrics http://{host}:{settings.metrics_port}/metrics"
    return f"HTTP http://{host}:{settings.service_port}  gRPC {host}:{settings.grpc_port}  {metrics}"


def _host(service: Service) -> str:
    return f"[{service.host}]" if ":" in service.host else service.host


def _example(service: Service, model: ServedModel) -> str:
    """A command that asks `model`."""
    from ..nim.service.codec import encode_tensor, write_json
    from ..nim.service.models import smallest_inputs

    interface = model.program.interface
    arrays = smallest_inputs(interface)
    inputs = [encode_tensor(spec, arrays[spec.name]) for spec in interface.inputs if spec.name in arrays]
    if model.settings.warm_up:  # from service.json, so it may have NaN, which orjson writes as null
        body = json.dumps({"inputs": list(model.settings.warm_up)})
    else:
        body = write_json({"inputs": inputs}).decode()
    url = f"http://{_host(service)}:{service.settings.service_port}/v1/models/{model.name}/infer"
    return f"curl -s {shlex.quote(url)} -d {shlex.quote(body)}"


def _ports(host: str, given: dict[str, int | None]) -> dict[str, int | None]:
    """`given`, with a free port for each 0."""
    for key, port in given.items():
        if port is not None and not 0 <= port <= PORT_MAX:
            raise UsageError(f"{OPTIONS[key]} {port} is no port", remediation="Ports are from 1 to 65535.")
    open_keys = [key for key, port in given.items() if port == 0]
    try:
        return given | dict(zip(open_keys, free_ports(len(open_keys), host)))
    except OSError as problem:
        raise UsageError(
            f"cannot listen on {host}: {problem.strerror}", remediation="Give --host an address of this machine."
        ) from None


def _check_ports(settings: ServiceSettings) -> None:
    from ..nim.service.ports import duplicate_ports

    duplicates = duplicate_ports({key: getattr(settings, key) for key in OPTIONS})
    if duplicates is not None:
        one, other = (OPTIONS[key] for key in duplicates)
        raise UsageError(f"{one} and {other} are the same port", remediation=f"Choose another for {one} or {other}.")


def _need_parts() -> None:
    import importlib.util

    missing = [part for part in PARTS if importlib.util.find_spec(part) is None]
    if missing:
        raise MissingPart(
            f"{missing[0]} is not installed: it is a part of the service", remediation="pip install 'portalis[nim]'"
        )


def _either(words: Any) -> str:
    *most, last = (word.lower() for word in words)
    return f"{', '.join(most)} or {last}"


def _say(text: str) -> None:
    print(f"portalis: {text}", file=sys.stderr, flush=True)
