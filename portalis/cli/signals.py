"""Turns termination signals into exceptions, so that cleanup code runs (four commands use it)."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def signals_as_exit() -> Iterator[None]:
    """Within the context, SIGTERM and SIGHUP raise SystemExit with the exit code that a shell reports for the signal. A
    signal that is ignored, for example by nohup, stays ignored."""
    handled = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _exit) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, _: FrameType | None) -> None:
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # cleaning up takes only a moment
    print(f"stopped by {signal.Signals(number).name}", file=sys.stderr)
    raise SystemExit(128 + number)
