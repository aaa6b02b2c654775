"""``python -m portalis.nim.service SERVICE.JSON``: serves until it is told to stop (SIGTERM or SIGINT)."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from .app import create_app
from .settings import BadSettings, read_settings

# longer than a guest may run by default, shorter than the 30 s after which Kubernetes kills
SHUTDOWN_S = 15


def main(arguments: Sequence[str]) -> int:
    """Serve. Returns the exit status: 2 for settings that cannot be, 1 when a port cannot be had."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description="Serves WebAssembly modules.")
    parser.add_argument("settings", type=Path, metavar="SERVICE.JSON", help="what to serve; the modules lie beside it")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    options = parser.parse_args(arguments)
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=options.log_level.upper(), format=form, stream=sys.stderr)
    # uvicorn stops gracefully and then raises the signal again: being told to stop is no failure
    signal.signal(signal.SIGTERM, _stop)
    file: Path = options.settings
    try:
        settings = read_settings(file)
    except BadSettings as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    config = uvicorn.Config(
        create_app(settings, file.parent),
        host="0.0.0.0",  # noqa: S104  # a container's network is its own
        port=settings.service_port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    server = uvicorn.Server(config)
    server.run()
    return 0 if server.started else 1


def _stop(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
