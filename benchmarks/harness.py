"""Measures two things in one run, in turn, and reports their ratio: single times mean little on a shared machine."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """One line of the table: two figures and their ratio against a target.

    ``at_most`` tells on which side of ``target`` the ratio must lie. ``spread`` are the smallest and largest of the
    pairs that were measured.
    """

    name: str
    about: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    target: float
    at_most: bool
    spread: tuple[float, float]

    @property
    def met(self) -> bool:
        """Whether the target was met."""
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target

    def to_json(self) -> dict[str, Any]:
        """For the JSON report."""
        return {**self.__dict__, "spread": list(self.spread), "met": self.met}


def compare(
    name: str,
    about: str,
    pairs: list[tuple[float, float]],
    *,
    unit: str,
    target: float,
    at_most: bool = True,
    invert: bool = False,
) -> Result:
    """The result from pairs (ours, theirs) measured one after the other. The ratio is the median of the pairs' own."""
    ratios = [theirs / ours if invert else ours / theirs for ours, theirs in pairs]
    return Result(
        name,
        about,
        statistics.median(o for o, _ in pairs),
        statistics.median(t for _, t in pairs),
        unit,
        statistics.median(ratios),
        target,
        at_most,
        (min(ratios), max(ratios)),
    )


def better(*configurations: list[float], at_most: bool = False) -> list[float]:
    """The figures of the configuration whose median is the largest, or with `at_most` the smallest."""
    return (min if at_most else max)(configurations, key=statistics.median)


def timed(function: Callable[[], Any], repeat: int) -> float:
    """Seconds of one call: the median of `repeat`, the collector off."""
    samples, collecting = [], gc.isenabled()
    gc.disable()
    try:
        for _ in range(repeat):
            began = time.perf_counter()
            function()
            samples.append(time.perf_counter() - began)
    finally:
        if collecting:
            gc.enable()
    return statistics.median(samples)


def in_turn(
    ours: Callable[[], Any], theirs: Callable[[], Any], *, rounds: int, repeat: tuple[int, int]
) -> list[tuple[float, float]]:
    """Pairs of times in seconds, A B A B; one round of warm-up is thrown away."""
    ours(), theirs()
    return [(timed(ours, repeat[0]), timed(theirs, repeat[1])) for _ in range(rounds)]
