"""``python -m portalis.nim.service SERVICE.JSON``: serves until it is told to stop (SIGTERM or SIGINT)."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from .logs import LEVELS, LogOptions, log_options, set_up

CACHE_VARIABLE = "NIM_CACHE_PATH"
RUNTIME_CACHE_VARIABLE = "PORTALIS_CACHE_DIR"


def main(arguments: Sequence[str]) -> int:
    """Serve. Returns the exit status: 2 for settings that cannot be, 1 when a port cannot be had."""
    # first of all: the kernel spares the first process of a container every signal that it does not handle
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description="Serves WebAssembly modules.")
    parser.add_argument("settings", type=Path, metavar="SERVICE.JSON", help="what to serve; the modules lie beside it")
    parser.add_argument("--log-level", type=str.upper, choices=LEVELS, help="instead of NIM_LOG_LEVEL")
    options = parser.parse_args(arguments)
    try:
        logging = log_options(os.environ, terminal=sys.stderr.isatty())
    except ValueError as problem:
        return _refuse(problem, 2)
    if options.log_level:
        logging = LogOptions(LEVELS[options.log_level], logging.json_lines)
    set_up(logging)
    keep_compiled(os.environ.get(CACHE_VARIABLE, "").strip())
    return _serve(options.settings, logging)


def keep_compiled(folder: str) -> None:
    """Let the runtime keep compiled modules in `folder`, in one of this user's own: machine code that another user
    could have written is not run. The runtime's own variable goes before. A folder that cannot be written is logged by
    the runtime, which then compiles at each start."""
    if folder:
        user = os.geteuid() if hasattr(os, "geteuid") else 0
        os.environ.setdefault(RUNTIME_CACHE_VARIABLE, os.path.join(folder, f"portalis-modules-{user}"))  # noqa: PTH118


def _serve(file: Path, logging: LogOptions) -> int:
    # what is imported stays: looking through it for garbage takes a sixth of the start, and then time from requests
    gc.disable()
    from .serving import PortTaken, serve
    from .settings import BadSettings, read_settings

    gc.freeze()
    gc.enable()
    try:
        # a container's network is its own
        return serve(read_settings(file), file.parent, host="0.0.0.0", level=logging.level)  # noqa: S104
    except BadSettings as problem:
        return _refuse(problem, 2)
    except PortTaken as problem:
        return _refuse(problem, 1)


def _refuse(problem: Exception, status: int) -> int:
    sys.stderr.write(f"{problem}\n")
    return status


def _stop(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
