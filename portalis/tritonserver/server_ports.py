"""The ports of a tritonserver: which ones it should use, and on which a process really listens."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import TritonFailed
from ..free_ports import free_ports

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The three ports of a server. 0 means any free port."""

    grpc: int = 0
    http: int = 0
    metrics: int = 0

    @property
    def chosen(self) -> bool:
        """Whether all three are fixed."""
        return 0 not in (self.grpc, self.http, self.metrics)

    def choose(self, host: str) -> Ports:
        """These ports, with free ports of `host` instead of 0. Another process may bind one before Triton does.

        Raises TritonFailed if `host` is not an address of this machine.
        """
        if self.chosen:
            return self
        try:
            grpc, http, metrics = free_ports(3, host)
        except OSError as error:
            raise TritonFailed(
                f"cannot listen on {host}: {error.strerror}", remediation="Name an address of this machine."
            ) from None
        return Ports(grpc=self.grpc or grpc, http=self.http or http, metrics=self.metrics or metrics)


FREE_PORTS = Ports()


def listening_ports(pid: int) -> set[int]:
    """The TCP ports on which the process `pid` listens, from Linux's /proc.

    A port that responds is not enough: a different server may have it.
    """
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
                if fields[3] == _LISTEN and f"socket:[{fields[9]}]" in sockets:
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports
