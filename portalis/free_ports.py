"""Finds free TCP ports for servers that receive their ports at the start."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from pathlib import Path

PORT_MAX = 65535
FIRST_PORT = 15_000
PORT_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ATTEMPTS = 100
_IN_USE = (errno.EADDRINUSE, errno.EACCES)


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """`count` different TCP ports of `host` that are not in use.

    They are below the range from which the kernel assigns ports to connections and to sockets bound to port 0: a port
    in that range could be in use before the server binds it. Raises OSError if `host` is not an address of this
    machine.
    """
    with contextlib.ExitStack() as held:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return [_bind(held.enter_context(socket.socket(family)), host) for _ in range(count)]


def _bind(holder: socket.socket, host: str) -> int:
    end = _range_begin()
    for _ in range(_ATTEMPTS if end > FIRST_PORT else 0):
        try:
            holder.bind((host, random.randrange(FIRST_PORT, end)))  # noqa: S311 (no secret)
            break
        except OSError as error:
            if error.errno not in _IN_USE:
                raise
    else:
        holder.bind((host, 0))
    return int(holder.getsockname()[1])


def _range_begin() -> int:
    """The first port of the kernel's range; 0 if it is unknown."""
    try:
        return int(PORT_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0
