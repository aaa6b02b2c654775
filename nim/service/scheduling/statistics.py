"""The statistics of a model, as Triton's statistics extension defines them: counts, and durations in nanoseconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..request_errors import RequestError
from .pending import Outcome, PendingRequest


@dataclass(slots=True)
class StatisticDuration:
    """The number of events, and their total duration."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float, count: int = 1) -> None:
        """Add `count` events that took `seconds` together."""
        self.count += count
        self.ns += int(seconds * 1e9)

    def to_json(self) -> dict[str, int]:
        """The JSON object of the extension."""
        return {"count": self.count, "ns": self.ns}


_DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


def _durations() -> dict[str, StatisticDuration]:
    return {name: StatisticDuration() for name in _DURATIONS}


@dataclass(slots=True)
class ModelStatistics:
    """The statistics of one model; any thread can count. The time for inputs and outputs is part of the inference."""

    inference_count: int = 0
    execution_count: int = 0
    last_inference_ms: int = 0
    durations: dict[str, StatisticDuration] = field(default_factory=_durations)
    batches: dict[int, StatisticDuration] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(
        self, batch: Sequence[PendingRequest], outcomes: Sequence[Outcome], began: float, duration_s: float
    ) -> None:
        """Count a batch that started at `began` (``time.perf_counter``) and ran for `duration_s`."""
        with self._lock:
            self.execution_count += 1
            self.last_inference_ms = time.time_ns() // 1_000_000
            durations, rows, succeeded, waited_s = self.durations, 0, 0, 0.0
            for request, outcome in zip(batch, outcomes):
                if isinstance(outcome, RequestError):
                    durations["fail"].add(began - request.since + duration_s)
                    continue
                rows += request.rows
                succeeded += 1
                waited_s += began - request.since
            if not succeeded:
                return
            compute_s = succeeded * duration_s
            durations["success"].add(waited_s + compute_s, succeeded)
            durations["queue"].add(waited_s, succeeded)
            durations["compute_infer"].add(compute_s, succeeded)
            durations["compute_input"].count += succeeded
            durations["compute_output"].count += succeeded
            self.inference_count += rows
            if rows:
                self.batches.setdefault(rows, StatisticDuration()).add(duration_s)

    def count_rejected(self, requests: Sequence[PendingRequest], now: float) -> None:
        """Count `requests` that failed at `now` (``time.perf_counter``) without being run."""
        with self._lock:
            for request in requests:
                self.durations["fail"].add(now - request.since)

    def count_request(self, rows: int, duration_s: float, compute_s: float, *, failed: bool) -> None:
        """Count a request of `rows` rows that ran without a queue for `duration_s`, in which modules ran for
        `compute_s`."""
        with self._lock:
            if failed:
                self.durations["fail"].add(duration_s)
                return
            self.last_inference_ms = time.time_ns() // 1_000_000
            self.inference_count += rows
            self.execution_count += 1
            self.durations["success"].add(duration_s)
            self.durations["compute_infer"].add(compute_s)
            for name in ("queue", "compute_input", "compute_output"):
                self.durations[name].add(0)
            self.batches.setdefault(rows, StatisticDuration()).add(compute_s)

    def to_json(self, name: str, version: str) -> dict[str, Any]:
        """The entry of ``model_stats`` for the model `name`."""
        with self._lock:
            none = StatisticDuration().to_json()
            return {
                "name": name,
                "version": version,
                "last_inference": self.last_inference_ms,
                "inference_count": self.inference_count,
                "execution_count": self.execution_count,
                "inference_stats": {
                    **{key: each.to_json() for key, each in self.durations.items()},
                    "cache_hit": none,
                    "cache_miss": none,
                },
                "batch_stats": [
                    {
                        "batch_size": rows,
                        "compute_input": {"count": each.count, "ns": 0},
                        "compute_infer": each.to_json(),
                        "compute_output": {"count": each.count, "ns": 0},
                    }
                    for rows, each in sorted(self.batches.items())
                ],
                "response_stats": {},  # of decoupled models
                "memory_usage": [],  # Triton has it for GPUs
            }
