"""`portalis run`: runs the service application of the images in this process."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import MissingPart, PortalisError, UsageError
from ..free_ports import PORT_MAX, free_ports

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..nim.service.logs import LogOptions
    from ..nim.service.reports import ModelReport, ServiceReport
    from ..nim.service.settings import ServiceSettings

OPTIONS = {"service_port": "--http-port", "grpc_port": "--grpc-port", "metrics_port": "--metrics-port"}
REQUIREMENTS = ("fastapi", "uvicorn", "prometheus_client", "grpc")


def run_service(
    modules: Annotated[
        list[Path],
        typer.Argument(metavar="MODULE…", help="The .wasm files, a directory with a service.json, or a spec."),
    ],
    name: Annotated[str | None, typer.Option(help="Name of a single module, instead of its file name.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. 0.0.0.0 opens the service to the network.")
    ] = "127.0.0.1",
    http_port: Annotated[int | None, typer.Option(help="HTTP port, by default 8000; 0 selects a free port.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="gRPC port, by default 8001; 0 selects a free port.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Port that serves metrics only, by default 9090; 0 selects a free port.")
    ] = None,
    max_request_bytes: Annotated[
        int | None,
        typer.Option(help="Maximum size of a request, by default 64 MiB; larger ones are rejected with 413.", min=1),
    ] = None,
    max_queued_requests: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of queued requests per model, by default 256; the next is rejected with 429.", min=1
        ),
    ] = None,
    max_connections: Annotated[
        int | None,
        typer.Option(help="Maximum number of HTTP connections, and of gRPC connections, by default 1000.", min=1),
    ] = None,
    max_response_bytes: Annotated[
        int | None,
        typer.Option(
            help="Maximum size of a response's tensors, by default 256 MiB; larger ones are replaced by 500.", min=1
        ),
    ] = None,
    control: Annotated[
        str | None, typer.Option(metavar="MODE", help="explicit lets clients load and unload models; by default none.")
    ] = None,
    load_model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Model that is loaded at startup with --control explicit, by default none; * for all. Repeatable.",
        ),
    ] = None,
    log_level: Annotated[str, typer.Option(metavar="LEVEL", help="debug, info, warning, error or critical.")] = "info",
    workers: Annotated[
        int | None,
        typer.Option(help="Number of processes that serve the ports together, by default 1.", min=1, max=64),
    ] = None,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Write the log as JSON lines, as images do.")] = False,
) -> None:
    """Serve modules over HTTP and gRPC until Ctrl-C, as a service image does, without a container.

    If the interface of a module cannot be derived, declare it in a spec file (`portalis init`) or in the module itself
    (`portalis annotate`).

    Examples:

    portalis run softmax.wasm

    portalis run portalis.toml --http-port 8080 --log-level debug
    """
    _check_requirements()
    from ..nim.local import served_folder
    from ..nim.service.logs import LEVELS, LogOptions, configure_logging

    level = LEVELS.get(log_level.upper())
    if level is None:
        raise UsageError(f"--log-level {log_level}: unknown level", remediation=f"Use {_alternatives(LEVELS)}.")
    changes: dict[str, Any] = {"max_request_bytes": max_request_bytes, "max_queued_requests": max_queued_requests}
    changes |= {"max_connections": max_connections, "max_response_bytes": max_response_bytes}
    changes |= _control_changes(control, load_model)
    changes["worker_processes"] = workers
    changes |= _ports(host, {"service_port": http_port, "grpc_port": grpc_port, "metrics_port": metrics_port})
    with served_folder(modules, name, {key: value for key, value in changes.items() if value is not None}) as served:
        _check_ports(served.settings)
        logs = LogOptions(level, json_lines=json_logs)
        configure_logging(logs)
        for warning in served.warnings:
            _print_line(warning)
        # uvicorn's messages about its start and end are shown at level debug only
        raise typer.Exit(
            _serve(
                served.settings,
                served.folder,
                host,
                level if level < LEVELS["INFO"] else max(level, LEVELS["WARNING"]),
                logs,
            )
        )


def _serve(settings: ServiceSettings, folder: Path, host: str, level: int, logs: LogOptions) -> int:
    from ..nim.service.listeners import PortUnavailable
    from ..nim.service.serving import serve_models

    try:
        return serve_models(
            settings, folder, host=host, level=level, logs=logs, port_options=OPTIONS, on_change=Announcer().changed
        )
    except PortUnavailable as error:
        raise PortalisError(
            str(error), remediation=f"Choose another port with {', '.join(OPTIONS.values())}; 0 selects a free one."
        ) from None


class Announcer:
    """Prints the addresses of the service, an example request for each model, and which models are ready."""

    def __init__(self) -> None:
        self._announced: set[str] = set()
        self._summary = self._addresses = ""

    def changed(self, service: ServiceReport) -> bool:
        """Print what has changed; returns False if no model is ready or loading."""
        models = service.models
        ready = [model for model in models if model.ready]
        is_loading = any(not model.ready and not model.failure for model in models)
        controlled = service.settings.model_control == "explicit"  # models can be loaded at any time
        if (ready or controlled) and not self._addresses:
            self._addresses = _addresses(service)
            _print_line(self._addresses)
        for model in ready:
            if model.name not in self._announced:
                self._announced.add(model.name)
                _print_line(_example(service, model))
        if not ready and not is_loading and not controlled:
            _print_line("no model could be loaded")
            return False
        if not is_loading and (summary := _summary(models)) != self._summary:
            self._summary = summary
            _print_line(summary)
        return True


def _summary(models: Collection[ModelReport]) -> str:
    """Whether the service is ready, as its health endpoint reports."""
    ready = sum(model.ready for model in models)
    if not models:
        return "ready, and no model is loaded; Ctrl-C stops"
    if ready == len(models):
        return "ready; Ctrl-C stops"
    failed = ", ".join(model.name for model in models if not model.ready)
    count = f"{ready} of {len(models)} models {'is' if ready == 1 else 'are'} ready"
    return f"{count}; {failed} failed (/v1/health/ready returns 503); Ctrl-C stops"


def _addresses(service: ServiceReport) -> str:
    settings, host = service.settings, _host(service)
    metrics = f"metrics http://{host}:{settings.metrics_port}/metrics"
    return f"HTTP http://{host}:{settings.service_port}  gRPC {host}:{settings.grpc_port}  {metrics}"


def _host(service: ServiceReport) -> str:
    return f"[{service.host}]" if ":" in service.host else service.host


def _example(service: ServiceReport, model: ModelReport) -> str:
    """A shell command that sends a request to `model`."""
    url = f"http://{_host(service)}:{service.settings.service_port}/v1/models/{model.name}/infer"
    return f"curl -s {shlex.quote(url)} -d {shlex.quote(model.example)}"


def _control_changes(control: str | None, names: list[str] | None) -> dict[str, Any]:
    modes = ("none", "explicit")
    if control not in (None, *modes):
        raise UsageError(f"--control {control}: unknown mode", remediation=f"Use {_alternatives(modes)}.")
    return {"model_control": control, "load_models": tuple(names) if names else None}


def _ports(host: str, ports: dict[str, int | None]) -> dict[str, int | None]:
    """`ports`, with a free port instead of each 0."""
    for key, port in ports.items():
        if port is not None and not 0 <= port <= PORT_MAX:
            raise UsageError(
                f"{OPTIONS[key]} {port}: invalid port", remediation="Use a port from 1 to 65535, or 0 for a free one."
            )
    open_keys = [key for key, port in ports.items() if port == 0]
    try:
        return ports | dict(zip(open_keys, free_ports(len(open_keys), host)))
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}: {error.strerror}", remediation="Set --host to an address of this machine."
        ) from None


def _check_ports(settings: ServiceSettings) -> None:
    from ..nim.service.ports import duplicate_ports

    duplicates = duplicate_ports({key: getattr(settings, key) for key in OPTIONS})
    if duplicates is not None:
        first, second = (OPTIONS[key] for key in duplicates)
        raise UsageError(
            f"{first} and {second} are the same port", remediation=f"Choose another port for {first} or {second}."
        )


def _check_requirements() -> None:
    import importlib.util

    missing = [name for name in REQUIREMENTS if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPart(
            f"{missing[0]} is not installed, but the service requires it", remediation="pip install 'portalis[nim]'"
        )


def _alternatives(names: Any) -> str:
    *others, last = (name.lower() for name in names)
    return f"{', '.join(others)} or {last}"


def _print_line(text: str) -> None:
    # a single write, because `print` writes the line break separately and another thread could log in between
    sys.stderr.write(f"portalis: {text}\n")
    sys.stderr.flush()
