"""The delays of restarts."""

from __future__ import annotations

from portalis.nim.service.workers.restart_policy import MAX_DELAY_S, MAX_FAILED_STARTS, STABLE_S, RestartPolicy


def test_the_first_restart_is_immediate_and_the_delay_of_others_doubles() -> None:
    policy = RestartPolicy()
    assert [policy.delay_s(1.0) for _ in range(5)] == [0, 0.25, 0.5, 1, 2]
    assert {policy.delay_s(1.0) for _ in range(2000)} >= {MAX_DELAY_S}
    assert policy.delay_s(1.0) == MAX_DELAY_S


def test_a_worker_that_served_long_enough_is_restarted_immediately() -> None:
    policy = RestartPolicy()
    for _ in range(4):
        policy.delay_s(1.0)
    assert policy.delay_s(STABLE_S) == 0


def test_a_worker_that_never_serves_is_given_up() -> None:
    policy = RestartPolicy()
    delays = [policy.delay_s(None) for _ in range(MAX_FAILED_STARTS)]
    assert None not in delays[:-1]
    assert delays[-1] is None


def test_a_worker_that_served_in_between_is_not_given_up() -> None:
    policy = RestartPolicy()
    for _ in range(MAX_FAILED_STARTS - 1):
        assert policy.delay_s(None) is not None
    assert policy.delay_s(1.0) is not None
    assert policy.delay_s(None) is not None
