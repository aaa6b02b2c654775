"""Runs a server until the test run ends, then cleans up. A separate executable, started by `tests.running.session`.

Usage: keeper.py PID FOLDER COMMAND ... — COMMAND receives SIGTERM when the process PID ends, or when this process receives
SIGTERM or SIGINT.
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
    stop_reader, stop_writer = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(stop_writer, b"x"))
    server = subprocess.Popen(command)
    try:
        ended = os.pidfd_open(server.pid)
        if select.select([stop_reader, ended, os.pidfd_open(session)], [], [])[0] == [ended]:
            return  # the process that started the server reads the reason in its log
    except ProcessLookupError:
        pass  # the session ended before this process started
    server.terminate()
    try:
        server.wait(STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    clean(folder)


def clean(folder: Path) -> None:
    """Unmount and remove `folder`. Containers on the host's network leave mounts in it, and Podman that of its storage."""
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        mount_point = line.split()[1]
        if mount_point.startswith(f"{folder}/"):
            subprocess.run(["umount", mount_point], check=False)
    subprocess.run(["rm", "-rf", str(folder)], check=False)  # for thousands of files, several times faster than shutil


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
