"""Serving a folder of modules in this process until a signal comes: for images and for `portalis run`."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .app import create_app
from .http.http_server import Server, configured
from .ports import VARIABLES, source
from .service import Service
from .settings import ServiceSettings

_LOADING_S, _SETTLED_S = 0.01, 0.2  # how often models are looked at


class PortTaken(Exception):
    """A port cannot be listened on; the text says which, why, and what to set."""


def serve(
    settings: ServiceSettings,
    folder: Path,
    *,
    host: str,
    level: int = logging.INFO,
    named: Mapping[str, str] | None = None,
    changed: Callable[[Service], bool] | None = None,
) -> int:
    """Serve the modules in `folder` on `host` until SIGTERM or SIGINT; the exit status.

    `level` is that of uvicorn's log lines. `named` says by which option a user sets each port, for PortTaken; without
    it that is the environment. `changed` is called, in a thread, once the service listens and whenever other models are
    ready or have failed; when it returns False the service ends with status 1. Raises PortTaken.
    """
    http = _listener(settings, "service_port", host, named)
    for other in ("grpc_port", "metrics_port"):
        # their servers listen by themselves and later, where what they raise is a traceback in the log
        _listener(settings, other, host, named).close()
    app = create_app(settings, folder, host)
    server = Server(configured(app, app.service.admission, level), app.service.drain, settings.drain_s)
    refused = threading.Event()

    def watch(tell: Callable[[Service], bool]) -> None:
        seen: list[tuple[bool, str]] | None = None
        while not server.should_exit:
            states = [(model.ready, model.failure) for model in app.service.models.values()]
            if server.started and states != seen:
                seen = states
                if not tell(app.service):
                    refused.set()
                    server.should_exit = True
            time.sleep(_LOADING_S if seen is None or (False, "") in states else _SETTLED_S)

    if changed is not None:
        threading.Thread(target=watch, args=[changed], name="watcher", daemon=True).start()
    with http:
        server.run(sockets=[http])
    return 0 if server.started and not refused.is_set() else 1


def _listener(settings: ServiceSettings, key: str, host: str, named: Mapping[str, str] | None) -> socket.socket:
    port: int = getattr(settings, key)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if os.name == "posix":  # elsewhere it lets two listen on one port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1)  # two may bind what only one can listen on
    except OSError as problem:
        listener.close()
        where, remedy = (named[key],) * 2 if named else (source(key), VARIABLES[key][0])
        raise PortTaken(
            f"cannot listen on {host}:{port} ({where}): {problem.strerror}; choose another port with {remedy}"
        ) from None
    return listener
