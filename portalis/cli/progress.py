"""Shows how a run of the pipeline goes: a live line on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..escaping import printable

if TYPE_CHECKING:
    from rich.status import Status

    from ..pipeline import Listener
    from ..pipeline.outcome import Stage

WORDS = {"Produced": "done", "Skipped": "skipped", "Failed": "FAILED"}


class Plain:
    """A line for each stage, on stderr."""

    def __init__(self, *, skipped: bool = True) -> None:
        self._tells_skipped = skipped

    def started(self, name: str, title: str) -> None:
        """Nothing: its end tells enough where nobody watches."""

    def progressed(self, text: str) -> None:
        """A line."""
        print(f"  {printable(text)}", file=sys.stderr, flush=True)

    def ended(self, stage: Stage) -> None:
        """A line."""
        if self._is_told(stage):
            print(line(stage), file=sys.stderr, flush=True)

    def _is_told(self, stage: Stage) -> bool:
        return self._tells_skipped or WORDS[type(stage.outcome).__name__] != "skipped"


class Quiet(Plain):
    """Nothing at all."""

    def progressed(self, text: str) -> None:
        """Nothing."""

    def ended(self, stage: Stage) -> None:
        """Nothing."""


class Live(Plain):
    """A spinner with the stage's last words, on a terminal."""

    def __init__(self, status: Status, *, skipped: bool = True) -> None:
        super().__init__(skipped=skipped)
        self._status = status
        self._title = ""

    def started(self, name: str, title: str) -> None:
        """The spinner names the stage."""
        self._title = title
        self._show(title)

    def progressed(self, text: str) -> None:
        """The spinner shows it."""
        self._show(f"{self._title}: {text}")

    def ended(self, stage: Stage) -> None:
        """A line that stays."""
        if not self._is_told(stage):
            return
        self._status.console.print(line(stage), markup=False, highlight=False, soft_wrap=True)

    def _show(self, text: str) -> None:
        from rich.text import Text

        self._status.update(Text(printable(text), overflow="ellipsis", no_wrap=True))


def line(stage: Stage) -> str:
    """How a stage ended: ``Triton models        done     2 artifacts  0.12 s``."""
    word = WORDS[type(stage.outcome).__name__]
    count = stage.result.artifacts.total_artifacts_count()
    if word == "skipped":
        told = printable(getattr(stage.outcome, "reason", ""))
    else:
        wrong = f", {len(stage.errors)} failed" if stage.errors else ""
        told = f"{count} artifact{'' if count == 1 else 's'}{wrong}, {stage.seconds:.2f} s"
    return f"{stage.title:<22} {word:<8} {told}"


@contextlib.contextmanager
def listener(*, quiet: bool, skipped: bool = True) -> Iterator[Listener]:
    """The listener that fits: none when `quiet`, live on a terminal, else plain. Stages that are skipped are told where
    `skipped` says so."""
    if quiet:
        yield Quiet()
    elif not sys.stderr.isatty():
        yield Plain(skipped=skipped)
    else:
        from rich.console import Console

        with Console(stderr=True).status("reading the modules") as status:
            yield Live(status, skipped=skipped)
