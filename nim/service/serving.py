"""Serves a directory of modules in this process until a signal arrives: in images and in `portalis run`."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .app import create_app
from .http import DirectInference, DrainingServer, uvicorn_config
from .ports import VARIABLES, port_source
from .service import Service
from .settings import ServiceSettings

_LOADING_S, _LOADED_S = 0.01, 0.2  # polling intervals: while models load, and afterwards


class PortUnavailable(Exception):
    """The service cannot listen on a port. The message names the port, the reason and the setting to change."""


def serve_models(
    settings: ServiceSettings,
    folder: Path,
    *,
    host: str,
    level: int = logging.INFO,
    port_options: Mapping[str, str] | None = None,
    on_change: Callable[[Service], bool] | None = None,
) -> int:
    """Serve the modules in `folder` on `host` until SIGTERM or SIGINT; returns the exit status.

    `level` is the log level of uvicorn. `port_options` names the option that sets each port, for the message of
    PortUnavailable; by default, the environment variables are named. `on_change` is called in a thread when the service
    starts to listen, and whenever a model becomes ready or fails; if it returns False, the service ends with status 1.
    Raises PortUnavailable.
    """
    http = _listener(settings, "service_port", host, port_options)
    for other in ("grpc_port", "metrics_port"):
        # checked now: their servers bind later, where an error is only a traceback in the log
        _listener(settings, other, host, port_options).close()
    app = create_app(settings, folder, host)
    config = uvicorn_config(app, app.service.admission, level, direct=DirectInference(app.service))
    server = DrainingServer(config, app.service.drain, settings.drain_s)
    stopped = threading.Event()

    def watch(report: Callable[[Service], bool]) -> None:
        reported: list[tuple[bool, str]] | None = None
        while not server.should_exit:
            states = [(model.ready, model.failure) for model in app.service.models.values()]
            if server.started and states != reported:
                reported = states
                if not report(app.service):
                    stopped.set()
                    server.should_exit = True
            time.sleep(_LOADING_S if reported is None or (False, "") in states else _LOADED_S)

    if on_change is not None:
        threading.Thread(target=watch, args=[on_change], name="watcher", daemon=True).start()
    with http:
        server.run(sockets=[http])
    return 0 if server.started and not stopped.is_set() else 1


def _listener(settings: ServiceSettings, key: str, host: str, port_options: Mapping[str, str] | None) -> socket.socket:
    port: int = getattr(settings, key)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if os.name == "posix":  # on Windows the option would let two processes listen on one port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1)  # two sockets can bind the same port, but only one can listen on it
    except OSError as error:
        listener.close()
        source, option = (port_options[key],) * 2 if port_options else (port_source(key), VARIABLES[key][0])
        raise PortUnavailable(
            f"cannot listen on {host}:{port} ({source}): {error.strerror}; choose another port with {option}"
        ) from None
    return listener
