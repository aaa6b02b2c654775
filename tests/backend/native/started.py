"""The processes that a server starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def planners(server: int) -> list[int]:
    """The children of the process `server` that make plans."""
    return [pid for pid, command in children(server) if b"/plan.py\0" in command]


def children(server: int) -> Iterator[tuple[int, bytes]]:
    """The children of the process `server`, with their command lines. Threads and children can end concurrently."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = path.with_name("cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == server:
            yield int(path.parent.name), command
