"""What is wrong with someone's input, collected so that all of it is told at once."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from .errors import UsageError
from .escaping import printable

MAX_PROBLEMS = 100
"""How many are looked for. Each takes a search for the nearest name, and nobody reads more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: `where` is its path (``triton_config.inputs[0].dims``, empty for the whole),
    `message` names the thing, `remediation` says what to do, `also` are other places that it is judged by."""

    where: str
    message: str
    remediation: str = ""
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}. {self.remediation}" if self.remediation else text


class InputProblems(UsageError):
    """Everything that is wrong with a spec or a contract file; `source` is what was read."""

    exit_code: ClassVar[int] = 2

    def __init__(self, problems: Iterable[Problem], *, source: str, pipeline_id: str | None = None) -> None:
        self.problems = tuple(problems)
        self.pipeline_id = pipeline_id
        self.source = source
        count = f"{len(self.problems)} problems" if len(self.problems) > 1 else "a problem"
        lines = "".join(f"\n  - {printable(str(problem))}" for problem in self.problems)
        super().__init__(f"{printable(source)} has {count}:{lines}")


def truncate_problems(problems: Sequence[Problem]) -> list[Problem]:
    """The first `MAX_PROBLEMS`, and a last one where there are more."""
    if len(problems) <= MAX_PROBLEMS:
        return list(problems)
    rest = Problem(where="", message=f"more than these {MAX_PROBLEMS} problems", remediation="Fix these first.")
    return [*problems[:MAX_PROBLEMS], rest]


def independent_problems(problems: Iterable[Problem], told: Collection[str]) -> Iterator[Problem]:
    """Those `problems` that do not follow from what is wrong at the places `told`."""
    for problem in problems:
        places = [place for place in (problem.where, *problem.also) if place]
        if not any(_is_within(place, other) for place in places for other in told):
            yield problem


def _is_within(place: str, other: str) -> bool:
    return place == other or place.startswith((f"{other}.", f"{other}["))


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A sentence with the nearest of the `known` names, or with all of them where none is near."""
    plain = {_plain(each): each for each in reversed(known)}
    near = difflib.get_close_matches(_plain(name), plain, 1)
    return f"Did you mean {plain[near[0]]!r}?" if near else f"Known are: {', '.join(known)}."


def _plain(name: str) -> str:
    """Upper case and dashes are no difference that matters."""
    return name.casefold().replace("-", "_")
