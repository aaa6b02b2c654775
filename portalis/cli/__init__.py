"""The `portalis` command."""

from __future__ import annotations

import sys


def main() -> None:
    """The console script: run the command line and exit with its code."""
    from .app import run

    sys.exit(run())
