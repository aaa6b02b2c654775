"""Whether a process listens on a port, from Linux's /proc: another server's answer must not pass for ours."""

from __future__ import annotations

import contextlib
from pathlib import Path

LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


def listening_ports(pid: int) -> set[int]:
    """The TCP ports on which the process `pid` listens now."""
    sockets = set()
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                sockets.add(str(descriptor.readlink()))
    ports = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTEN and f"socket:[{fields[9]}]" in sockets:
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports
