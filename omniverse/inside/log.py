"""Kit's log, and failures that are told there once."""

from __future__ import annotations

from collections.abc import Callable

MAX_CHARACTERS = 400


def short(problem: BaseException) -> str:
    """A problem on one line: a trap's backtrace and the like stay with the exception."""
    first = (str(problem).strip() or type(problem).__name__).splitlines()[0]
    return first if len(first) <= MAX_CHARACTERS else first[: MAX_CHARACTERS - 1] + "…"


class Failures:
    """Says what failed, and says the same of the same thing only once until that thing works again."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._told: dict[str, str] = {}

    def failed(self, what: str, problem: BaseException, then: str = "") -> None:
        """`what` could not be done; `then` says what follows from it."""
        text = short(problem)
        if self._told.get(what) != text:
            self._told[what] = text
            self._say(f"{what}: {text}{f' ({then})' if then else ''}")

    def works(self, what: str) -> None:
        """`what` was done: its next failure is news."""
        self._told.pop(what, None)
