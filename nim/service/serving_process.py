"""The server of one process: HTTP, gRPC and metrics, until a signal arrives."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .app import create_app
from .http import DirectInference, DrainingServer, uvicorn_config
from .model_reports import report_models
from .reports import ModelReport, ServiceReport
from .service import Service
from .settings import ServiceSettings

_LOADING_S, _LOADED_S = 0.01, 0.2  # polling intervals: while models load, and afterwards


def serve_alone(
    settings: ServiceSettings,
    folder: Path,
    *,
    host: str,
    level: int,
    http: socket.socket,
    on_change: Callable[[ServiceReport], bool] | None,
) -> int:
    """Serve as the only process; the parameters are those of `serve_models`. `http` listens for the API."""
    app = create_app(settings, folder, host)
    config = uvicorn_config(app, app.service.admission, level, direct=DirectInference(app.service))
    server = DrainingServer(config, app.service.drain, settings.drain_s)

    def report(models: tuple[ModelReport, ...], is_listening: bool) -> bool:
        if on_change is None or not is_listening:
            return True
        return on_change(ServiceReport(settings=settings, host=host, models=models))

    return run_server(server, app.service, [http], report)


def run_server(
    server: DrainingServer,
    service: Service,
    listeners: Sequence[socket.socket],
    report: Callable[[tuple[ModelReport, ...], bool], bool],
) -> int:
    """Run `server` until it stops, and close `listeners`; returns the exit status.

    `report` is called in a thread with the states of the models and whether the server listens, whenever one of them
    changes; if it returns False, the server ends with status 1.
    """
    stopped = threading.Event()

    def watch() -> None:
        reported: tuple[bool, list[tuple[str, bool, str]]] | None = None
        while not server.should_exit:
            states = [(model.name, model.ready, model.failure) for model in service.models.values()]
            if (server.started, states) != reported:
                reported = server.started, states
                if not report(report_models(service), server.started):
                    stopped.set()
                    server.should_exit = True
            loading = not server.started or any(not ready and not failure for _, ready, failure in states)
            time.sleep(_LOADING_S if loading else _LOADED_S)

    threading.Thread(target=watch, name="watcher", daemon=True).start()
    try:
        server.run(sockets=list(listeners))
    finally:
        for each in listeners:
            each.close()
    return 0 if server.started and not stopped.is_set() else 1
