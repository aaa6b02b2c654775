"""Statistics of a benchmark: pairs, their ratios, and whether a target is met."""

from __future__ import annotations

import gc
import json
from dataclasses import replace

import pytest

from benchmarks.harness import Result, better, compare, in_turn, timed  # noqa: TID251

PAIRS = [(1.0, 2.0), (3.0, 4.0), (9.0, 3.0)]


def test_the_ratio_is_the_median_of_the_ratios_of_the_pairs() -> None:
    found = compare("name", "what it is", PAIRS, unit="s", target=1)
    assert found == Result(
        name="name",
        about="what it is",
        ours=3.0,
        theirs=3.0,
        unit="s",
        ratio=0.75,  # the median of 1/2, 3/4 and 3; the ratio of the medians is 3/3
        target=1,
        at_most=True,
        spread=(0.5, 3.0),
    )


def test_an_inverted_ratio_is_theirs_divided_by_ours() -> None:
    found = compare("name", "", PAIRS, unit="s", target=2, at_most=False, invert=True)
    assert (found.ours, found.theirs) == (3.0, 3.0)
    assert found.ratio == pytest.approx(4 / 3)
    assert found.spread == pytest.approx((1 / 3, 2.0))


def test_the_median_of_an_even_number_of_pairs_is_the_mean_of_the_two_in_the_middle() -> None:
    found = compare("name", "", [(1.0, 1.0), (3.0, 1.0), (5.0, 1.0), (100.0, 1.0)], unit="s", target=1)
    assert (found.ratio, found.ours) == (4.0, 4.0)


@pytest.mark.parametrize(
    ("ratio", "at_most", "met"),
    [
        (0.9, True, True),
        (1.0, True, True),
        (1.1, True, False),
        (0.9, False, False),
        (1.0, False, True),
        (1.1, False, True),
    ],
)
def test_a_target_is_met_on_its_side_and_at_the_limit(ratio: float, at_most: bool, met: bool) -> None:
    found = replace(compare("name", "", [(1, 1)], unit="s", target=1.0), ratio=ratio, at_most=at_most)
    assert found.met is met


@pytest.mark.parametrize(("at_most", "met"), [(True, False), (False, True)])
def test_the_target_applies_to_the_inverted_ratio(at_most: bool, met: bool) -> None:
    assert compare("n", "", [(1.0, 3.0)], unit="s", target=2, at_most=at_most, invert=True).met is met


def test_json_contains_every_field_and_whether_the_target_was_met() -> None:
    found = compare("name", "what it is", PAIRS, unit="1/s", target=2, at_most=False)
    assert json.loads(json.dumps(found.to_json())) == {
        "name": "name",
        "about": "what it is",
        "ours": 3.0,
        "theirs": 3.0,
        "unit": "1/s",
        "ratio": 0.75,
        "target": 2,
        "at_most": False,
        "spread": [0.5, 3.0],
        "met": False,
    }


def test_timed_calls_the_requested_number_of_times_without_the_garbage_collector() -> None:
    seen: list[bool] = []
    assert timed(lambda: seen.append(gc.isenabled()), 5) >= 0
    assert seen == [False] * 5
    assert gc.isenabled()


def test_timed_restores_the_garbage_collector() -> None:
    def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        timed(fail, 1)
    assert gc.isenabled()
    gc.disable()
    try:
        timed(lambda: None, 1)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_timed_returns_the_median_and_not_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 10.0, 12.0, 20.0, 120.0])
    monkeypatch.setattr("benchmarks.harness.time.perf_counter", lambda: next(clock))
    assert timed(lambda: None, 3) == 2.0


def test_in_turn_warms_up_once_and_then_measures_a_b_a_b() -> None:
    calls: list[str] = []
    pairs = in_turn(lambda: calls.append("a"), lambda: calls.append("b"), rounds=3, repeat=(2, 1))
    assert "".join(calls) == "ab" + "aab" * 3
    assert len(pairs) == 3
    assert all(ours >= 0 and theirs >= 0 for ours, theirs in pairs)


def test_the_better_configuration_has_the_larger_median_or_the_smaller_if_at_most() -> None:
    assert better([1.0, 9.0, 2.0], [3.0, 3.0, 3.0]) == [3.0, 3.0, 3.0]
    assert better([1.0, 9.0, 2.0], [3.0, 3.0, 3.0], at_most=True) == [1.0, 9.0, 2.0]
