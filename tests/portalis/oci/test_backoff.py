"""Delays and number of retries."""

from __future__ import annotations

import random

import pytest

from portalis.oci.backoff import MAX_RETRY_AFTER_S, Backoff
from portalis.oci.errors import Interrupted, Unreachable


def waits(error: Interrupted, *, max_tries: int, **more: float) -> list[float]:
    waited: list[float] = []
    retries = Backoff(max_tries=max_tries, random=random.Random(1), sleep=waited.append, **more).retries("fetching")  # type: ignore[arg-type]
    for _ in range(max_tries - 1):
        retries.wait_or_raise(error)
    with pytest.raises(Unreachable, match=f"fetching: no \\({max_tries} tries\\)"):
        retries.wait_or_raise(error)
    return waited


def test_delays_are_random_and_grow_to_a_limit() -> None:
    found = waits(Interrupted("no", reached=True), max_tries=30, first_wait_s=1, max_wait_s=8)
    assert len(found) == 29 and len(set(found)) == 29
    assert all(wait <= min(8, 2 ** (n + 1)) for n, wait in enumerate(found))
    assert max(found) > 6


def test_a_registry_can_request_a_delay_up_to_a_limit() -> None:
    assert min(waits(Interrupted("no", reached=True, wait_s=30), max_tries=4)) >= 30
    assert max(waits(Interrupted("no", reached=True, wait_s=1e9), max_tries=4)) == MAX_RETRY_AFTER_S


def test_progress_restarts_the_count() -> None:
    retries = Backoff(max_tries=3, sleep=lambda _: None).retries("fetching")
    for _ in range(20):
        retries.wait_or_raise(Interrupted("no", reached=True), progressed=True)
    retries.wait_or_raise(Interrupted("no", reached=True))
    with pytest.raises(Unreachable):
        retries.wait_or_raise(Interrupted("no", reached=True))
