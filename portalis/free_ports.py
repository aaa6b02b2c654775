"""Free ports for servers that are told their ports when they start."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from pathlib import Path

PORT_MAX = 65535
FIRST = 15_000
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES = 100
_TAKEN = (errno.EADDRINUSE, errno.EACCES)


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """`count` different TCP ports on `host` that nobody listens on.

    They lie below the range from which the kernel takes ports for connections and for sockets bound to port 0: one from
    that range could be taken before a server gets to it. Raises OSError where `host` is no address of this machine.
    """
    with contextlib.ExitStack() as held:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return [_bind(held.enter_context(socket.socket(family)), host) for _ in range(count)]


def _bind(holder: socket.socket, host: str) -> int:
    end = _range_begin()
    for _ in range(TRIES if end > FIRST else 0):
        try:
            holder.bind((host, random.randrange(FIRST, end)))  # noqa: S311 (no secret)
            break
        except OSError as problem:
            if problem.errno not in _TAKEN:
                raise
    else:
        holder.bind((host, 0))
    return int(holder.getsockname()[1])


def _range_begin() -> int:
    """Where the kernel's range begins; 0 where that is not known."""
    try:
        return int(RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0
