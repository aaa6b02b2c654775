"""Ports for servers of tests: no other test of this run gets the same, and no client's connection does.

They lie below the range from which the kernel takes the ports of connections and of sockets bound to port 0: between a look at
such a port and the server's start, another process could get it.
"""

from __future__ import annotations

import random
import socket

from portalis.free_ports import FIRST_PORT, PORT_RANGE_FILE
from portalis.tritonserver import Ports
from tests.running import session


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    end = int(PORT_RANGE_FILE.read_text().split()[0])
    counter = session.folder() / "port"
    with session.lock("ports"):
        # runs of the tests beside this one begin elsewhere
        port = int(counter.read_text()) if counter.exists() else random.randrange(FIRST_PORT, end)
        while True:
            port = port + 1 if port + 1 < end else FIRST_PORT
            if _is_free(port):
                counter.write_text(str(port))
                return port


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        # as servers do: an ended connection is no obstacle
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def free_ports() -> Ports:
    """The three ports of a Triton."""
    return Ports(grpc=free_port(), http=free_port(), metrics=free_port())
