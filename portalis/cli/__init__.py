"""The `portalis` command."""

from __future__ import annotations

import sys


def main() -> None:
    """The console script: runs the command line and exits with its code."""
    from .app import run

    sys.exit(run())
