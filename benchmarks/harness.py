"""Measures two functions alternately in one run and reports their ratio: times vary too much on shared machines."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """One row of the table: two measurements and their ratio against a target.

    ``at_most``: the ratio must be at most ``target``; otherwise at least. ``spread``: the smallest and the largest
    ratio of the measured pairs.
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
        """Whether the ratio meets the target."""
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target

    def to_json(self) -> dict[str, Any]:
        """The result's entry in the JSON report."""
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
    """The result of pairs (ours, theirs) that were measured alternately; the ratio is the median of their ratios."""
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
    """The samples of the configuration with the largest median, or the smallest if `at_most`."""
    return (min if at_most else max)(configurations, key=statistics.median)


def timed(function: Callable[[], Any], repeat: int) -> float:
    """Seconds per call: the median of `repeat` calls with the garbage collector disabled."""
    samples, collecting = [], gc.isenabled()
    gc.disable()
    try:
        for _ in range(repeat):
            start = time.perf_counter()
            function()
            samples.append(time.perf_counter() - start)
    finally:
        if collecting:
            gc.enable()
    return statistics.median(samples)


def in_turn(
    ours: Callable[[], Any], theirs: Callable[[], Any], *, rounds: int, repeat: tuple[int, int]
) -> list[tuple[float, float]]:
    """Pairs of times in seconds, measured alternately (A B A B) after one warm-up call of each."""
    ours(), theirs()
    return [(timed(ours, repeat[0]), timed(theirs, repeat[1])) for _ in range(rounds)]
