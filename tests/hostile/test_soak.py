"""A few seconds of the load of ``make soak``, as a test of its code. Only long runs can check the memory."""

from __future__ import annotations

import pytest

from . import soak

pytestmark = pytest.mark.service


def test_a_mixed_load_has_no_problem() -> None:
    with soak.hostile_service() as service:
        record = soak.soak(service, 4, lambda text: None)
    assert not [problem for problem in record.problems if "health probe took" not in problem]
    assert record.counts["good"] > 0


def test_memory_growth_compares_the_third_with_the_last_quarter() -> None:
    assert soak.memory_growth([1, 5, 9, 9, 9, 9, 8, 9]) == (9, 9)
    assert soak.memory_growth([1, 2, 3, 4, 5, 6, 7, 8]) == (6, 8)
