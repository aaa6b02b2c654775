"""`portalis serve`: runs tritonserver with the wasm backend in the foreground."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import TritonFailed, UsageError

if TYPE_CHECKING:
    from ..tritonserver import TritonServer


class _Stop(BaseException):
    """A termination signal was received. Not an Exception, so that no handler swallows it."""


def serve(
    context: typer.Context,
    repository: Annotated[Path, typer.Argument(help="The model repository: <model>/<version>/model.wasm.")],
    host: Annotated[
        str, typer.Option(help="The address to listen on. 0.0.0.0 opens the server to the network.")
    ] = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(help="gRPC port; 0 picks a free one.")] = 8001,
    http_port: Annotated[int, typer.Option(help="HTTP port; 0 picks a free one.")] = 8000,
    metrics_port: Annotated[int, typer.Option(help="Metrics port; 0 picks a free one.")] = 8002,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Continue with the other models if one fails to load.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only warnings and errors of the server.")] = False,
) -> None:
    """Serve REPOSITORY with Triton and the wasm backend until Ctrl-C.

    Arguments after `--` are passed to tritonserver.

    Example: portalis serve models -- --model-control-mode=explicit --load-model=softmax
    """
    from ..tritonserver import Ports, TritonServer

    extra = list(context.args)
    _reject_managed_options(extra)
    _check_repository(repository, explicit="explicit" in " ".join(extra))
    _check_names(repository)
    for hint in _hints(repository):
        _say(hint)
    ports = Ports(grpc=grpc_port, http=http_port, metrics=metrics_port)
    _check_ports(host, ports)
    server = TritonServer(
        repository,
        extra_args=[*(("--log-info=false",) if quiet else ()), *extra],
        require_all=not keep_going,
        ports=ports,
        host=host,
        foreground=True,
        start_timeout_s=600,
    )
    _run_until_stopped(server)


def _run_until_stopped(server: TritonServer) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        # ignore further signals: a second Ctrl-C must not interrupt the cleanup
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise _Stop

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.start()
        _print_models(server)
        code = server.wait()
        if code != 0:
            raise TritonFailed(
                f"tritonserver exited with exit code {code}",
                remediation="The reason is in tritonserver's log above.",
            )
    except _Stop:
        _say("stopping")
    finally:
        server.stop()
        for each, handler in before.items():
            signal.signal(each, handler)


def _print_models(server: TritonServer) -> None:
    for model in _index(server.http_url):
        version = f" version {model['version']}" if model.get("version") else ""
        reason = f": {model['reason']}" if model.get("reason") else ""
        _say(f"model {model['name']}{version} {model.get('state', 'not loaded').lower()}{reason}")
    _say(f"gRPC {server.grpc_url}  HTTP {server.http_url}  metrics {server.metrics_url}")
    _say("ready; Ctrl-C stops")


def _say(text: str) -> None:
    print(f"portalis: {text}", file=sys.stderr, flush=True)


def _index(http_url: str) -> list[dict[str, Any]]:
    import urllib.request

    request = urllib.request.Request(f"http://{http_url}/v2/repository/index", data=b"{}", method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        models: list[dict[str, Any]] = json.load(answer)
    return models


def _hints(repository: Path) -> Iterator[str]:
    """Notes on mistakes for which Triton's own error message is unclear."""
    for module in sorted(repository.glob("*/*/model.wasm")):
        model = module.parent.parent
        # without a configuration, Triton derives the backend only from the suffix of the directory name
        if not (model / "config.pbtxt").exists() and model.suffix != ".wasm":
            yield (
                f'note: model {model.name} has no config.pbtxt. Write one with the line `backend: "wasm"`, '
                f"or name the directory {model.name}.wasm"
            )


def _check_repository(repository: Path, *, explicit: bool) -> None:
    layout = (
        "A model repository contains <model>/config.pbtxt and <model>/<version>/model.wasm,"
        " for example softmax/1/model.wasm."
    )
    if not repository.exists():
        raise UsageError(f"the model repository {repository} does not exist", remediation=layout)
    if not repository.is_dir():
        raise UsageError(f"{repository} is a file, not a model repository", remediation=layout)
    models = [each for each in repository.iterdir() if each.is_dir() and not each.name.startswith(".")]
    if not models and not explicit:
        raise UsageError(f"{repository} contains no models", remediation=layout)
    if any(each.name.isdecimal() for each in models) and not any(
        part.is_dir() and part.name.isdecimal() for each in models for part in each.iterdir()
    ):
        raise UsageError(
            f"{repository} is a model, not a model repository: it contains the version directory "
            f"{min(each.name for each in models if each.name.isdecimal())}/",
            remediation=f"Serve its parent directory: portalis serve {repository.absolute().parent}",
        )


def _check_names(repository: Path) -> None:
    """Raise UsageError for names that `portalis package` rejects, also with ``--keep-going``: a shell would execute the
    name."""
    from ..model_repository_gen.repository_check import unsafe_repository_names

    try:
        found = [
            f"model {model!r}, {problem.where}: {problem.message}"
            for model, problem in unsafe_repository_names(repository)
        ]
    except OSError as problem:
        raise UsageError(
            f"cannot read {repository}: {problem.strerror} ({problem.filename})",
            remediation=f"Give this user read permission for {problem.filename}.",
        ) from None
    if found:
        raise UsageError(
            f"{repository} is not served: " + "; ".join(found),
            remediation="Use letters, digits, dots, dashes and underscores in names, or move the model away.",
        )


MANAGED_OPTIONS = {
    "--model-repository": "the REPOSITORY argument",
    "--model-store": "the REPOSITORY argument",
    "--backend-directory": "no option: portalis creates one",
    "--grpc-port": "--grpc-port before the `--`",
    "--http-port": "--http-port before the `--`",
    "--metrics-port": "--metrics-port before the `--`",
    "--grpc-address": "--host before the `--`",
    "--http-address": "--host before the `--`",
    "--metrics-address": "--host before the `--`",
    "--exit-on-error": "--keep-going before the `--`",
    "--allow-http": "no option: portalis needs the HTTP port to check readiness",
}


def _reject_managed_options(extra: Sequence[str]) -> None:
    for argument in extra:
        name = argument.split("=", 1)[0]
        if name in MANAGED_OPTIONS:
            raise UsageError(f"{name} is set by portalis", remediation=f"Use {MANAGED_OPTIONS[name]}.")


def _check_ports(host: str, ports: Any) -> None:
    for name, port in (("grpc", ports.grpc), ("http", ports.http), ("metrics", ports.metrics)):
        try:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except (OSError, OverflowError) as problem:
            raise UsageError(
                f"cannot listen on {host}:{port} for {name}: {problem}",
                remediation=f"Stop the process that uses it, or use another port: --{name}-port (0 picks a free one).",
            ) from problem
