"""The part of a worker process in a service: its connection to the others, and when it loads and listens."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .peers.worker_link import WorkerLink


@dataclass(frozen=True, kw_only=True)
class WorkerContext:
    """The context of a process; by default, that of a service with a single process."""

    link: WorkerLink | None = None
    """The connection to the other processes."""
    metrics_socket: socket.socket | None = None
    """The socket that listens on the metrics port; by default, the process opens one."""
    began: float = field(default_factory=time.time)
    """Time at which the service started, in seconds since 1970."""
    may_load: threading.Event | None = None
    """Set once this process may load its models: the first process compiles them, the others then find the compiled
    code in the cache."""
    listens_at_once: bool = True
    """Whether the process listens while it loads its models, for requests for health. Otherwise another one does."""

    def start_loading(self, start: Callable[[], None]) -> None:
        """Call `start` once the process may load its models."""
        may_load = self.may_load
        if may_load is None:
            start()
            return

        def wait() -> None:
            may_load.wait()
            start()

        threading.Thread(target=wait, name="load permission", daemon=True).start()
