"""A worker process: ``python -m …workers.worker_process CHANNEL HTTP METRICS``, three numbers of inherited sockets."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..logs import LogOptions, configure_logging
from .worker_launch import read_options

if TYPE_CHECKING:
    from ..service import Service

ABANDONED_S = 60.0
"""Seconds that a worker without a supervisor may take to complete its requests, in addition to `drain_s`."""
_LOG = logging.getLogger("portalis.worker")  # the name of this module is `__main__`


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal arrives or the supervisor ends; returns the exit status."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    channel, http, metrics = (socket.socket(fileno=int(each)) for each in arguments)
    try:
        options = read_options(channel)
    except (EOFError, OSError):
        return 1
    configure_logging(LogOptions(options["log_level"], options["json_lines"], options["number"]))
    return _serve(options, channel, http, metrics)


def _serve(options: dict[str, Any], connection: socket.socket, http: socket.socket, metrics: socket.socket) -> int:
    gc.disable()  # as in a service with a single process
    from ..app import create_app
    from ..http import DirectInference, uvicorn_config
    from ..model_reports import report_models
    from ..peers.channel import Channel
    from ..peers.worker_link import WorkerLink
    from ..reports import ModelReport
    from ..serving_process import run_server
    from ..settings import ServiceSettings
    from ..worker_context import WorkerContext
    from .worker_server import WorkerServer

    gc.freeze()
    gc.enable()
    settings = ServiceSettings.model_validate_json(options["settings"])
    link, may_load = WorkerLink(options["number"]), threading.Event()
    link.handlers["load"] = lambda _: may_load.set()
    context = WorkerContext(
        link=link,
        metrics_socket=metrics,
        began=options["began"],
        may_load=may_load,
        listens_at_once=options["listens_at_once"],
    )
    app = create_app(settings, Path(options["folder"]), options["host"], context)
    service = app.service
    config = uvicorn_config(app, service.admission, options["level"], direct=DirectInference(service))
    server = WorkerServer(link, config, service.drain, settings.drain_s)

    def report(models: tuple[ModelReport, ...], is_listening: bool) -> bool:
        link.notify("state", {"listening": is_listening, "models": [asdict(model) for model in models]})
        return True

    def report_state() -> None:
        report(report_models(service), server.started)

    link.report_state = report_state
    lost = service.restore(options["regions"], options["control_requests"])
    channel = Channel(connection, link.handlers, lambda: _stop(service), "supervisor")
    link.attach(channel)
    channel.start()
    if lost:
        link.notify("lost regions", lost)
    return run_server(server, service, [http], report)


def _stop(service: Service) -> None:
    """End the process: the supervisor has ended."""
    if not service.drain.stopping:
        _LOG.error("the supervisor has ended; stopping")
        os.kill(os.getpid(), signal.SIGTERM)
    timer = threading.Timer(service.settings.drain_s + ABANDONED_S, os._exit, [1])
    timer.daemon = True
    timer.start()


def _exit(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
