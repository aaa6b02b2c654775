"""When to try again."""

from __future__ import annotations

import random

import pytest

from portalis.oci.backoff import MAX_RETRY_AFTER_S, Backoff
from portalis.oci.errors import Interrupted, Unreachable


def waits(problem: Interrupted, *, max_tries: int, **more: float) -> list[float]:
    waited: list[float] = []
    retries = Backoff(max_tries=max_tries, random=random.Random(1), sleep=waited.append, **more).retries("asking")  # type: ignore[arg-type]
    for _ in range(max_tries - 1):
        retries.wait_or_raise(problem)
    with pytest.raises(Unreachable, match=f"asking: no \\({max_tries} tries\\)"):
        retries.wait_or_raise(problem)
    return waited


def test_waits_grow_at_random_to_a_limit() -> None:
    found = waits(Interrupted("no", reached=True), max_tries=30, first_wait_s=1, max_wait_s=8)
    assert len(found) == 29 and len(set(found)) == 29
    assert all(wait <= min(8, 2 ** (n + 1)) for n, wait in enumerate(found))
    assert max(found) > 6


def test_a_registry_may_ask_for_time_but_not_for_all_of_it() -> None:
    assert min(waits(Interrupted("no", reached=True, wait_s=30), max_tries=4)) >= 30
    assert max(waits(Interrupted("no", reached=True, wait_s=1e9), max_tries=4)) == MAX_RETRY_AFTER_S


def test_coming_further_begins_the_count_anew() -> None:
    retries = Backoff(max_tries=3, sleep=lambda _: None).retries("asking")
    for _ in range(20):
        retries.wait_or_raise(Interrupted("no", reached=True), progressed=True)
    retries.wait_or_raise(Interrupted("no", reached=True))
    with pytest.raises(Unreachable):
        retries.wait_or_raise(Interrupted("no", reached=True))
