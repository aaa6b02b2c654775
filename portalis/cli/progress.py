"""Progress of long work: of a pipeline run (live on a terminal, else lines, nothing when quiet), and of compilation."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..escaping import printable

if TYPE_CHECKING:
    from rich.status import Status

    from ..pipeline import Listener
    from ..pipeline.outcome import Stage

NOTE_AFTER_S = 0.5
WORDS = {"Produced": "done", "Skipped": "skipped", "Failed": "FAILED"}


class LineProgress:
    """Prints one line per stage to stderr."""

    def __init__(self, *, skipped: bool = True) -> None:
        self._shows_skipped = skipped

    def started(self, name: str, title: str) -> None:
        """Print nothing: without a terminal, the line at the end is sufficient."""

    def progressed(self, text: str) -> None:
        """Print a line."""
        print(f"  {printable(text)}", file=sys.stderr, flush=True)

    def ended(self, stage: Stage) -> None:
        """Print a line."""
        if self._is_shown(stage):
            print(stage_line(stage), file=sys.stderr, flush=True)

    def _is_shown(self, stage: Stage) -> bool:
        return self._shows_skipped or WORDS[type(stage.outcome).__name__] != "skipped"


class QuietProgress(LineProgress):
    """Prints nothing."""

    def progressed(self, text: str) -> None:
        """Print nothing."""

    def ended(self, stage: Stage) -> None:
        """Print nothing."""


class LiveProgress(LineProgress):
    """Shows a spinner with the latest progress of the stage, on a terminal."""

    def __init__(self, status: Status, *, skipped: bool = True) -> None:
        super().__init__(skipped=skipped)
        self._status = status
        self._title = ""

    def started(self, name: str, title: str) -> None:
        """Show the stage in the spinner."""
        self._title = title
        self._show(title)

    def progressed(self, text: str) -> None:
        """Show the text in the spinner."""
        self._show(f"{self._title}: {text}")

    def ended(self, stage: Stage) -> None:
        """Print a permanent line."""
        if not self._is_shown(stage):
            return
        self._status.console.print(stage_line(stage), markup=False, highlight=False, soft_wrap=True)

    def _show(self, text: str) -> None:
        from rich.text import Text

        self._status.update(Text(printable(text), overflow="ellipsis", no_wrap=True))


def stage_line(stage: Stage) -> str:
    """One line for the outcome of a stage: ``Triton models        done     2 artifacts, 0.12 s``."""
    word = WORDS[type(stage.outcome).__name__]
    count = stage.result.artifacts.total_artifacts_count()
    if word == "skipped":
        outcome = printable(getattr(stage.outcome, "reason", ""))
    else:
        failed = f", {len(stage.errors)} failed" if stage.errors else ""
        outcome = f"{count} artifact{'' if count == 1 else 's'}{failed}, {stage.seconds:.2f} s"
    return f"{stage.title:<22} {word:<8} {outcome}"


@contextlib.contextmanager
def progress_listener(*, quiet: bool, skipped: bool = True) -> Iterator[Listener]:
    """A listener for the current output: silent if `quiet`, live on a terminal, else line by line. Skipped stages are
    shown only if `skipped`."""
    if quiet:
        yield QuietProgress()
    elif not sys.stderr.isatty():
        yield LineProgress(skipped=skipped)
    else:
        from rich.console import Console

        with Console(stderr=True).status("reading the modules") as status:
            yield LiveProgress(status, skipped=skipped)


@contextlib.contextmanager
def compile_note(module: Path, *, after_s: float = NOTE_AFTER_S, stream: TextIO | None = None) -> Iterator[None]:
    """While the context compiles `module`, print a note after `after_s` seconds if `stream` is a terminal."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield
        return
    size = module.stat().st_size / 1e6 if module.is_file() else 0.0
    text = f"compiling {module} ({size:.1f} MB); the compiled module is cached for the next run"
    timer = threading.Timer(after_s, lambda: print(printable(text), file=stream, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
