"""The processes that make plans for a server."""

from __future__ import annotations

from pathlib import Path


def planners(server: int) -> list[int]:
    """The children of the process `server` that run plan.py."""
    tasks = Path(f"/proc/{server}/task").iterdir()
    children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    return [pid for pid in children if b"/plan.py\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
