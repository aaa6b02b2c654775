"""``python -m portalis.nim.service SERVICE.JSON``: serves until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from .logs import LEVELS, LogOptions, configure_logging, log_options

CACHE_VARIABLE = "NIM_CACHE_PATH"
RUNTIME_CACHE_VARIABLE = "PORTALIS_CACHE_DIR"


def main(arguments: Sequence[str]) -> int:
    """Serve; returns the exit status: 2 for invalid settings, 1 if a port is not available."""
    # Before anything else: the kernel ignores signals to a container's first process that have no handler.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description="Serves WebAssembly modules.")
    parser.add_argument(
        "settings", type=Path, metavar="SERVICE.JSON", help="the settings file; the modules are in its directory"
    )
    parser.add_argument("--log-level", type=str.upper, choices=LEVELS, help="overrides NIM_LOG_LEVEL")
    options = parser.parse_args(arguments)
    try:
        logging = log_options(os.environ, terminal=sys.stderr.isatty())
    except ValueError as error:
        return _print_error(error, 2)
    if options.log_level:
        logging = LogOptions(LEVELS[options.log_level], logging.json_lines)
    configure_logging(logging)
    set_module_cache(os.environ.get(CACHE_VARIABLE, "").strip())
    return _serve(options.settings, logging)


def set_module_cache(folder: str) -> None:
    """Let the runtime cache compiled modules in a subdirectory of `folder` that belongs to this user.

    The directory is per user because cached machine code must not come from another user. The runtime's own variable
    overrides it. If the directory is not writable, the runtime logs that and compiles at each start.
    """
    if folder:
        user = os.geteuid() if hasattr(os, "geteuid") else 0
        os.environ.setdefault(RUNTIME_CACHE_VARIABLE, os.path.join(folder, f"portalis-modules-{user}"))  # noqa: PTH118


def _serve(file: Path, logging: LogOptions) -> int:
    gc.disable()  # until `serve_models` has imported the rest
    from .listeners import PortUnavailable
    from .serving import serve_models
    from .settings import InvalidSettings, read_settings

    try:
        # all addresses: a container has a network of its own
        return serve_models(read_settings(file), file.parent, host="0.0.0.0", level=logging.level, logs=logging)  # noqa: S104
    except InvalidSettings as error:
        return _print_error(error, 2)
    except PortUnavailable as error:
        return _print_error(error, 1)


def _print_error(error: Exception, status: int) -> int:
    sys.stderr.write(f"{error}\n")
    return status


def _exit(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
