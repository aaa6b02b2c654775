"""The merged statistics of several processes."""

from __future__ import annotations

import time

import pytest

from portalis.nim.service.peers.statistics_merging import merge_statistics
from portalis.nim.service.scheduling.statistics import ModelStatistics


def _statistics(*requests: tuple[int, float]) -> ModelStatistics:
    statistics = ModelStatistics()
    for rows, seconds in requests:
        statistics.count_request(rows, seconds, seconds, failed=False)
    return statistics


def test_the_merged_entry_is_that_of_one_process_with_all_requests() -> None:
    requests = [(1, 0.5), (2, 0.25), (2, 1.0), (7, 2.0)]
    parts = [_statistics(*requests[:1]), _statistics(*requests[1:3]), _statistics(), _statistics(*requests[3:])]
    entries = [part.to_json("a", "1") for part in parts]
    expected = _statistics(*requests).to_json("a", "1")
    merged = merge_statistics(entries)
    assert merged["last_inference"] == max(entry["last_inference"] for entry in entries)
    assert abs(merged["last_inference"] - time.time() * 1000) < 60_000
    assert {**merged, "last_inference": 0} == {**expected, "last_inference": 0}


def test_the_entries_are_not_changed() -> None:
    first, second = _statistics((1, 0.5)).to_json("a", "1"), _statistics((1, 0.5)).to_json("a", "1")
    merge_statistics([first, second])
    assert first["inference_count"] == second["inference_count"] == 1
    assert first["batch_stats"][0]["compute_infer"]["count"] == 1


def test_no_entry_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        merge_statistics([])
