"""What a model has done so far, in the terms of Triton's statistics extension: counts, and nanoseconds."""

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
    """How often, and for how many nanoseconds together."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        """One more, which took `seconds`."""
        self.count += 1
        self.ns += int(seconds * 1e9)

    def to_json(self) -> dict[str, int]:
        """As the extension writes it."""
        return {"count": self.count, "ns": self.ns}


_DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


@dataclass(slots=True)
class ModelStatistics:
    """The numbers of one model; any thread may count. What input and output cost is counted with the inference."""

    inference_count: int = 0
    execution_count: int = 0
    last_inference_ms: int = 0
    durations: dict[str, StatisticDuration] = field(
        default_factory=lambda: {name: StatisticDuration() for name in _DURATIONS}
    )
    batches: dict[int, StatisticDuration] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(
        self, batch: Sequence[PendingRequest], outcomes: Sequence[Outcome], began: float, lasted_s: float
    ) -> None:
        """Note a batch that ran for `lasted_s` from `began` on (``time.perf_counter``)."""
        with self._lock:
            self.execution_count += 1
            self.last_inference_ms = time.time_ns() // 1_000_000
            durations = self.durations
            rows = 0
            for request, outcome in zip(batch, outcomes):
                waited_s = began - request.since
                if isinstance(outcome, RequestError):
                    durations["fail"].add(waited_s + lasted_s)
                    continue
                rows += request.rows
                durations["success"].add(waited_s + lasted_s)
                durations["queue"].add(waited_s)
                durations["compute_input"].add(0)
                durations["compute_infer"].add(lasted_s)
                durations["compute_output"].add(0)
            self.inference_count += rows
            if rows:
                self.batches.setdefault(rows, StatisticDuration()).add(lasted_s)

    def to_json(self, name: str, version: str) -> dict[str, Any]:
        """One entry of ``model_stats``."""
        with self._lock:
            nothing = StatisticDuration().to_json()
            return {
                "name": name,
                "version": version,
                "last_inference": self.last_inference_ms,
                "inference_count": self.inference_count,
                "execution_count": self.execution_count,
                "inference_stats": {
                    **{key: each.to_json() for key, each in self.durations.items()},
                    "cache_hit": nothing,
                    "cache_miss": nothing,
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
            }
