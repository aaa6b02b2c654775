"""Reports failures to Kit's log, each once."""

from __future__ import annotations

from collections.abc import Callable

MAX_CHARACTERS = 400


def short(problem: BaseException) -> str:
    """The first line of an error's message, at most MAX_CHARACTERS long: without a trap's backtrace."""
    first = (str(problem).strip() or type(problem).__name__).splitlines()[0]
    return first if len(first) <= MAX_CHARACTERS else first[: MAX_CHARACTERS - 1] + "…"


class Failures:
    """Reports failures of operations. An operation's repeated failure is reported again only after a success."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._reported: dict[str, str] = {}

    def failed(self, what: str, problem: BaseException, then: str = "") -> None:
        """Report that the operation `what` failed; `then` describes the consequence."""
        text = short(problem)
        if self._reported.get(what) != text:
            self._reported[what] = text
            self._report(f"{what}: {text}{f' ({then})' if then else ''}")

    def works(self, what: str) -> None:
        """Note that the operation `what` succeeded, so that its next failure is reported."""
        self._reported.pop(what, None)
