"""Shows how a run of the pipeline goes: a live line on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .printable import printable

if TYPE_CHECKING:
    from rich.status import Status

    from ..pipeline import Listener
    from ..pipeline.outcome import Stage

WORDS = {"Produced": "done", "Skipped": "skipped", "Failed": "FAILED"}


class Plain:
    """A line for each stage, on stderr."""

    def started(self, name: str, title: str) -> None:
        """Nothing: its end tells enough where nobody watches."""

    def said(self, text: str) -> None:
        """A line."""
        print(f"  {printable(text)}", file=sys.stderr, flush=True)

    def ended(self, stage: Stage) -> None:
        """A line."""
        print(line(stage), file=sys.stderr, flush=True)


class Quiet(Plain):
    """Nothing at all."""

    def said(self, text: str) -> None:
        """Nothing."""

    def ended(self, stage: Stage) -> None:
        """Nothing."""


class Live(Plain):
    """A spinner with the stage's last words, on a terminal."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._title = ""

    def started(self, name: str, title: str) -> None:
        """The spinner names the stage."""
        self._title = title
        self._show(title)

    def said(self, text: str) -> None:
        """The spinner shows it."""
        self._show(f"{self._title}: {text}")

    def ended(self, stage: Stage) -> None:
        """A line that stays."""
        self._status.console.print(line(stage), markup=False, highlight=False, soft_wrap=True)

    def _show(self, text: str) -> None:
        from rich.text import Text

        self._status.update(Text(printable(text), overflow="ellipsis", no_wrap=True))


def line(stage: Stage) -> str:
    """How a stage ended: ``Triton models        done     2 artifacts  0.12 s``."""
    word = WORDS[type(stage.outcome).__name__]
    count = stage.made.artifacts.total_artifacts_count()
    if word == "skipped":
        told = printable(getattr(stage.outcome, "reason", ""))
    else:
        wrong = f", {len(stage.errors)} failed" if stage.errors else ""
        told = f"{count} artifact{'' if count == 1 else 's'}{wrong}, {stage.seconds:.2f} s"
    return f"{stage.title:<22} {word:<8} {told}"


@contextlib.contextmanager
def listener(*, quiet: bool) -> Iterator[Listener]:
    """The listener that fits: none when `quiet`, live on a terminal, else plain."""
    if quiet:
        yield Quiet()
    elif not sys.stderr.isatty():
        yield Plain()
    else:
        from rich.console import Console

        with Console(stderr=True).status("reading the modules") as status:
            yield Live(status)
