"""Runs a server for as long as a run of the tests lasts, and cleans up behind it. A program of its own, see `tests.running.session`.

Usage: keeper.py PID FOLDER COMMAND ... — COMMAND gets SIGTERM when the process PID has ended, or when this one is asked to.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

STOP_S = 30


def main(session: int, folder: Path, command: list[str]) -> None:
    asked, ask = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(ask, b"x"))
    server = subprocess.Popen(command)
    try:
        ended = os.pidfd_open(server.pid)
        if select.select([asked, ended, os.pidfd_open(session)], [], [])[0] == [ended]:
            return  # its log says why; whoever started it reads that
    except ProcessLookupError:
        pass  # the session was over before this began
    server.terminate()
    try:
        server.wait(STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    clean(folder)


def clean(folder: Path) -> None:
    """A container on the host's network leaves a mount behind, and Podman that of its storage."""
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        place = line.split()[1]
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", place], check=False)
    subprocess.run(["rm", "-rf", str(folder)], check=False)  # many thousand files: several times faster than shutil


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
