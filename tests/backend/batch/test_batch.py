"""A batch with requests that fail or never end: the good ones are answered first, and wait for no endless one after the
other. What is measured is the order of the answers and the time limits of the calls, not time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from portalis.backend import Cancelled, GuestTimeout, Limits, Program, Trap
from portalis.backend.batch.batch import SHORT_TRIES_SHARE, Batch
from portalis.backend.batch.coalesce import BatchItem, Group
from tests.backend.host_guests import moody
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.usefixtures("executor")

LIMIT_S = 0.2
TRAP, ENDLESS, SLOW = -1.0, -2.0, -3.0
SLOW_S = 0.06


def request(value: float) -> dict[str, np.ndarray]:
    return {"x": np.array([[value]], np.float32)}


def is_late(inputs: Any, limit_s: float) -> bool:
    """Whether a call must exceed its time limit. Other calls never exceed it, even on a busy machine."""
    values = [float(value) for piece in inputs[0] for value in piece.ravel()]
    first_bad = next((value for value in values if value in (TRAP, ENDLESS)), None)
    return first_bad == ENDLESS or (SLOW in values and limit_s < SLOW_S)


class Run:
    """Runs `values` as one batch, and records the order of the results and the time limit of each guest call."""

    def __init__(self, values: list[float], *, isolation: str = "batch", borrow: bool = False, **options: Any) -> None:
        self.order: list[int] = []
        self.limits: list[float] = []
        self.early: dict[int, Any] = {}
        program = Program.load(moody(), limits=Limits(timeout_s=LIMIT_S), isolation=isolation)
        if borrow:
            for _ in range(2):  # prepares the fast path
                program.run_batch([request(i) for i in range(len(values))], borrow=True)
        call = program._call

        def noted(inputs: Any, timeout_s: float, borrow: bool) -> Any:
            self.limits.append(timeout_s)
            return call(inputs, timeout_s if is_late(inputs, timeout_s) else PATIENCE_S, borrow)

        program._call = noted  # type: ignore[method-assign]
        self.results = program.run_batch(
            [request(v) for v in values], on_result=self._answered, borrow=borrow, **options
        )
        self.values = values

    def _answered(self, index: int, result: Any) -> None:
        self.order.append(index)
        self.early[index] = result

    def check(self) -> None:
        for value, result in zip(self.values, self.results):
            if value == TRAP:
                assert isinstance(result, Trap)
            elif value == ENDLESS:
                assert isinstance(result, GuestTimeout) and f"{LIMIT_S:g} s" in str(result)
            else:
                assert isinstance(result, dict) and result["y"].tolist() == [[value]]
        assert sorted(self.order) == list(range(len(self.values)))
        assert all(self.early[i] is result for i, result in enumerate(self.results))

    def last_good(self) -> int:
        return max(self.order.index(i) for i, value in enumerate(self.values) if value >= 0)


@pytest.mark.parametrize("borrow", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        [ENDLESS, 1, ENDLESS, 2, ENDLESS, 3, 4],
        [ENDLESS, ENDLESS, ENDLESS, ENDLESS, ENDLESS, 5],
        [1, TRAP, ENDLESS, 2, ENDLESS, TRAP, 3],
    ],
)
def test_good_requests_are_answered_before_endless_ones(values: list[float], borrow: bool) -> None:
    run = Run(values, borrow=borrow)
    run.check()
    endless = sorted(run.order.index(i) for i, value in enumerate(values) if value == ENDLESS)
    # after a trap, the first endless request is the first timeout; otherwise the joined call is
    assert run.last_good() < endless[TRAP in values]
    tries = [limit for limit in run.limits if limit < LIMIT_S]
    assert len(tries) >= len(endless) - 1
    assert sum(tries) <= SHORT_TRIES_SHARE * LIMIT_S * (1 + math.log(len(values)) + 1)


def test_requests_that_are_never_joined_wait_for_at_most_one_endless_request() -> None:
    values = [ENDLESS, ENDLESS, ENDLESS, 1, ENDLESS, 2]
    run = Run(values, isolation="request")
    run.check()
    assert run.order[:3] == [0, 3, 5]  # the first one ran for its full time limit
    assert run.limits.count(LIMIT_S) == 1 + 3


def test_a_request_that_exceeds_its_short_attempt_gets_its_full_time_limit_later() -> None:
    run = Run([SLOW, ENDLESS, 1, SLOW, 2])
    assert [type(r) for r in run.results] == [dict, GuestTimeout, dict, dict, dict]
    assert run.last_good() <= 1


def test_a_failure_without_a_timeout_causes_no_short_attempts() -> None:
    run = Run([1, TRAP, 2, TRAP])
    run.check()
    assert set(run.limits) == {LIMIT_S}


def test_a_batch_without_errors_returns_all_results_together() -> None:
    run = Run([1, 2, 3])
    assert run.order == [] and run.limits == [LIMIT_S]


def test_a_kept_instance_runs_the_remaining_requests_sequentially() -> None:
    run = Run([ENDLESS, 1, ENDLESS], isolation="instance")
    run.check()
    assert run.order[0] == 1


def test_cancelled_requests_do_not_run_again() -> None:
    def check_cancelled(index: int) -> None:
        if index == 2:
            raise Cancelled("gone")

    run = Run([ENDLESS, 1, ENDLESS, 2], check_cancelled=check_cancelled)
    assert [type(r) for r in run.results] == [GuestTimeout, dict, Cancelled, dict]
    assert max(run.order.index(i) for i in (1, 2, 3)) < run.order.index(0)


def test_hundreds_of_endless_requests_share_the_time_of_the_short_attempts() -> None:
    limits: list[float] = []

    def call(group: Group, limit_s: float, borrow: bool) -> list[Any]:
        limits.append(limit_s)
        raise GuestTimeout("late")

    batch = Batch(call, check_cancelled=None, on_result=None, parallel=1)
    jobs = [BatchItem(i, [], 8.0) for i in range(300)]
    batch.run([jobs], False)
    tries = [limit for limit in limits if limit < 8.0]
    assert len(tries) == 300 and limits.count(8.0) == 301
    assert max(tries) <= SHORT_TRIES_SHARE * 8.0
    assert [type(batch.results[i]) for i in range(300)] == [GuestTimeout] * 300
