"""When to try again."""

from __future__ import annotations

import random

import pytest

from portalis.oci.backoff import MOST_WAIT_S, Backoff
from portalis.oci.errors import Interrupted, Unreachable


def waits(problem: Interrupted, *, tries: int, **more: float) -> list[float]:
    waited: list[float] = []
    attempt = Backoff(tries=tries, random=random.Random(1), sleep=waited.append, **more).attempt("asking")  # type: ignore[arg-type]
    for _ in range(tries - 1):
        attempt.failed(problem)
    with pytest.raises(Unreachable, match=f"asking: no \\({tries} tries\\)"):
        attempt.failed(problem)
    return waited


def test_waits_grow_at_random_to_a_limit() -> None:
    found = waits(Interrupted("no", reached=True), tries=30, first_s=1, most_s=8)
    assert len(found) == 29 and len(set(found)) == 29
    assert all(wait <= min(8, 2 ** (n + 1)) for n, wait in enumerate(found))
    assert max(found) > 6


def test_a_registry_may_ask_for_time_but_not_for_all_of_it() -> None:
    assert min(waits(Interrupted("no", reached=True, wait_s=30), tries=4)) >= 30
    assert max(waits(Interrupted("no", reached=True, wait_s=1e9), tries=4)) == MOST_WAIT_S


def test_coming_further_begins_the_count_anew() -> None:
    attempt = Backoff(tries=3, sleep=lambda _: None).attempt("asking")
    for _ in range(20):
        attempt.failed(Interrupted("no", reached=True), advanced=True)
    attempt.failed(Interrupted("no", reached=True))
    with pytest.raises(Unreachable):
        attempt.failed(Interrupted("no", reached=True))
