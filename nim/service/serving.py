"""Serves a directory of modules until a signal arrives: in images and in `portalis run`."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from .listeners import open_listener, reserve_shared_port
from .logs import LogOptions
from .reports import ServiceReport
from .settings import ServiceSettings


def serve_models(
    settings: ServiceSettings,
    folder: Path,
    *,
    host: str,
    level: int = logging.INFO,
    logs: LogOptions | None = None,
    port_options: Mapping[str, str] | None = None,
    on_change: Callable[[ServiceReport], bool] | None = None,
) -> int:
    """Serve the modules in `folder` on `host` until SIGTERM or SIGINT; returns the exit status.

    With one process (`worker_processes`), that is this one; with several, this one is their supervisor. `level` is the
    log level of uvicorn, and `logs` has the options of the log, which this process has configured. `port_options` names
    the option that sets each port, for the message of PortUnavailable; by default, the environment variables are named.
    `on_change` is called when the service starts to listen, and whenever a model becomes ready or fails; if it returns
    False, the service ends with status 1. Raises PortUnavailable.
    """
    with contextlib.ExitStack() as stack:
        http = stack.enter_context(open_listener(settings, "service_port", host, port_options))
        if settings.worker_processes == 1:
            for other in ("grpc_port", "metrics_port"):
                # checked now: their servers bind later, where an error is only a traceback in the log
                open_listener(settings, other, host, port_options).close()
            # Imported objects are never freed: collecting during the imports takes a sixth of the startup time, and
            # scanning these objects later would slow requests down.
            gc.disable()
            from .serving_process import serve_alone

            gc.freeze()
            gc.enable()

            return serve_alone(settings, folder, host=host, level=level, http=http, on_change=on_change)
        metrics = stack.enter_context(open_listener(settings, "metrics_port", host, port_options))
        stack.enter_context(reserve_shared_port(settings, "grpc_port", host, port_options))
        gc.enable()
        from .workers.supervisor import Supervisor
        from .workers.worker_launch import WorkerLaunch

        launch = WorkerLaunch(
            settings, folder, host=host, level=level, logs=logs or LogOptions(), listeners=(http, metrics)
        )
        return Supervisor(launch, on_change).run()
