"""What is wrong with someone's input, collected so that all of it is told at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from .errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: `where` is its path (``triton_config.inputs[0].dims``, empty for the whole),
    `message` names the thing, `remediation` says what to do."""

    where: str
    message: str
    remediation: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}. {self.remediation}" if self.remediation else text


class InputProblems(UsageError):
    """Everything that is wrong with a spec or a contract file; `source` is what was read."""

    exit_code: ClassVar[int] = 2

    def __init__(self, problems: Iterable[Problem], *, source: str) -> None:
        self.problems = tuple(problems)
        self.source = source
        count = f"{len(self.problems)} problems" if len(self.problems) > 1 else "a problem"
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"{source} has {count}:{lines}")


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A sentence with the nearest of the `known` names, or with all of them where none is near."""
    near = difflib.get_close_matches(name, known, 1)
    return f"Did you mean {near[0]!r}?" if near else f"Known are: {', '.join(known)}."
