"""`portalis run`: the service application of the images, in this process."""

from __future__ import annotations

import shlex
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import MissingPart, PortalisError, UsageError

if TYPE_CHECKING:
    from ..nim.service.app import Service
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
    from ..nim.service.logs import LEVELS, LogOptions, set_up

    level = LEVELS.get(log_level.upper())
    if level is None:
        raise UsageError(f"--log-level {log_level}: there is no such level", remediation=f"Use {_either(LEVELS)}.")
    changes: dict[str, Any] = {"max_request_bytes": max_request_bytes, "max_queued_requests": max_queued_requests}
    changes |= {"max_connections": max_connections, "max_response_bytes": max_response_bytes}
    changes |= _ports(host, {"service_port": http_port, "grpc_port": grpc_port, "metrics_port": metrics_port})
    with staged(modules, name, {key: value for key, value in changes.items() if value is not None}) as staging:
        settings, folder = staging
        _check_ports(settings)
        set_up(LogOptions(level, json_lines=json_logs))
        # uvicorn's word on starting and ending is for those who look for trouble
        raise typer.Exit(
            _serve(settings, folder, host, level if level < LEVELS["INFO"] else max(level, LEVELS["WARNING"]))
        )


def _serve(settings: ServiceSettings, folder: Path, host: str, level: int) -> int:
    from ..nim.service.serving import PortTaken, serve

    try:
        return serve(settings, folder, host=host, level=level, named=OPTIONS, loaded=_tell)
    except PortTaken as problem:
        raise PortalisError(str(problem), remediation="0 picks a free one.") from None


def _tell(service: Service) -> bool:
    """Say where everything is, and how to ask; whether there is anything to ask."""
    settings = service.settings
    host = f"[{service.host}]" if ":" in service.host else service.host
    base = f"http://{host}:{settings.service_port}"
    ready = [model for model in service.models.values() if model.ready]
    if not ready:
        _say("no model could be loaded")
        return False
    _say(f"HTTP {base}  gRPC {host}:{settings.grpc_port}  metrics http://{host}:{settings.metrics_port}/metrics")
    from ..nim.service.jsonio import written
    from ..nim.service.models import smallest
    from ..nim.service.tensors import encode

    for model in ready:
        interface = model.program.interface
        arrays = smallest(interface)
        inputs = [encode(spec, arrays[spec.name]) for spec in interface.inputs if spec.name in arrays]
        if model.settings.warm_up:
            inputs = list(model.settings.warm_up)
        body = written({"inputs": inputs}).decode()
        _say(f"curl -s {shlex.quote(f'{base}/v1/models/{model.name}/infer')} -d {shlex.quote(body)}")
    _say("ready; Ctrl-C stops")
    return True


def _ports(host: str, given: dict[str, int | None]) -> dict[str, int | None]:
    """`given`, with a free port for each 0; all are held until all are found."""
    held = []
    try:
        for key, port in given.items():
            if port == 0:
                holder = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
                held.append(holder)
                holder.bind((host, 0))
                given[key] = int(holder.getsockname()[1])
            elif port is not None and not 1 <= port <= 65535:
                raise UsageError(f"{OPTIONS[key]} {port} is no port", remediation="Ports are from 1 to 65535.")
    except OSError as problem:
        raise UsageError(f"cannot listen on {host}: {problem.strerror}", remediation="Check --host.") from None
    finally:
        for holder in held:
            holder.close()
    return given


def _check_ports(settings: ServiceSettings) -> None:
    from ..nim.service.ports import same

    twice = same({key: getattr(settings, key) for key in OPTIONS})
    if twice is not None:
        one, other = (OPTIONS[key] for key in twice)
        raise UsageError(f"{one} and {other} are the same port", remediation="Choose another for one of them.")


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
