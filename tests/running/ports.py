"""Ports for servers of tests. Each port is assigned to one test of a run, and never to a client's connection.

The ports are below the kernel's ephemeral range, which serves outgoing connections and sockets bound to port 0. Another
process could get an ephemeral port between the check and the start of the server.
"""

from __future__ import annotations

import random
import socket

from portalis.free_ports import FIRST_PORT, PORT_RANGE_FILE
from portalis.tritonserver import Ports
from tests.running import session


def free_port() -> int:
    """A port on which no process listens."""
    end = int(PORT_RANGE_FILE.read_text().split()[0])
    counter = session.folder() / "port"
    with session.lock("ports"):
        # a random start, because other test runs can be active
        port = int(counter.read_text()) if counter.exists() else random.randrange(FIRST_PORT, end)
        while True:
            port = port + 1 if port + 1 < end else FIRST_PORT
            if _is_free(port):
                counter.write_text(str(port))
                return port


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        # servers set it too: connections in TIME_WAIT do not block the port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def free_ports() -> Ports:
    """Three ports for a Triton server."""
    return Ports(grpc=free_port(), http=free_port(), metrics=free_port())
