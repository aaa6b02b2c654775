"""Problems of an input, collected so that they are reported together."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from .errors import UsageError
from .escaping import printable

MAX_PROBLEMS = 100
"""Maximum number of problems. Each can require a search for the nearest name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A reason why an input is invalid.

    `where` is its location (``triton_config.inputs[0].dims``; empty for the whole input), and `also` are other
    locations that the check depends on.
    """

    where: str
    message: str
    remediation: str = ""
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}. {self.remediation}" if self.remediation else text


class InputProblems(UsageError):
    """All problems of a spec or a contract file; `source` names the input."""

    exit_code: ClassVar[int] = 2

    def __init__(self, problems: Iterable[Problem], *, source: str, pipeline_id: str | None = None) -> None:
        self.problems = tuple(problems)
        self.pipeline_id = pipeline_id
        self.source = source
        count = f"{len(self.problems)} problems" if len(self.problems) > 1 else "a problem"
        lines = "".join(f"\n  - {printable(str(problem))}" for problem in self.problems)
        super().__init__(f"{printable(source)} has {count}:{lines}")


def truncate_problems(problems: Sequence[Problem]) -> list[Problem]:
    """The first `MAX_PROBLEMS` problems; if there are more, followed by a problem that reports this."""
    if len(problems) <= MAX_PROBLEMS:
        return list(problems)
    rest = Problem(
        where="",
        message=f"more than {MAX_PROBLEMS} problems; the others are not listed",
        remediation="Fix the listed ones first.",
    )
    return [*problems[:MAX_PROBLEMS], rest]


def independent_problems(problems: Iterable[Problem], reported: Collection[str]) -> Iterator[Problem]:
    """The `problems` that do not follow from problems at the locations `reported`."""
    for problem in problems:
        locations = [each for each in (problem.where, *problem.also) if each]
        if not any(_is_within(each, other) for each in locations for other in reported):
            yield problem


def _is_within(where: str, other: str) -> bool:
    return where == other or where.startswith((f"{other}.", f"{other}["))


def did_you_mean(name: str, choices: Sequence[str]) -> str:
    """A sentence with the most similar of `choices`, or with all of them if none is similar."""
    folded = {_fold(each): each for each in reversed(choices)}
    near = difflib.get_close_matches(_fold(name), folded, 1)
    return f"Did you mean {folded[near[0]]!r}?" if near else f"The choices are: {', '.join(choices)}."


def _fold(name: str) -> str:
    """`name` in lower case and without dashes, for comparison."""
    return name.casefold().replace("-", "_")
