"""A progress note on a terminal while a module compiles."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ..escaping import printable

PATIENCE_S = 0.5


@contextlib.contextmanager
def noted(module: Path, *, after_s: float = PATIENCE_S, stream: TextIO | None = None) -> Iterator[None]:
    """Wraps what compiles `module`: after `after_s` the note is printed where `stream` is a terminal, else never."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield
        return
    size = module.stat().st_size / 1e6 if module.is_file() else 0.0
    text = f"compiling {module} ({size:.1f} MB); the compiled module is kept for the next time"
    timer = threading.Timer(after_s, lambda: print(printable(text), file=stream, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
