"""Merging the statistics of a model in several processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LATEST = "last_inference"
_IDENTITIES = ("name", "version", "batch_size")


def merge_statistics(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entry of ``model_stats`` for all processes: counts and durations are sums, the last inference is the latest.
    Raises ValueError without an entry."""
    if not entries:
        raise ValueError("expected at least one entry")
    merged = dict(entries[0])
    for entry in entries[1:]:
        merged = _sum(merged, entry)
    return merged


def _sum(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = dict(left)
    for key, value in right.items():
        if key not in result:
            result[key] = value
        elif key == _LATEST:
            result[key] = max(result[key], value)
        elif isinstance(value, Mapping):
            result[key] = _sum(result[key], value)
        elif key == "batch_stats":
            result[key] = _sum_batches([*result[key], *value])
        elif isinstance(value, int) and key not in _IDENTITIES:
            result[key] += value
    return result


def _sum_batches(batches: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    by_size: dict[int, dict[str, Any]] = {}
    for batch in batches:
        size = batch["batch_size"]
        by_size[size] = _sum(by_size[size], batch) if size in by_size else dict(batch)
    return [by_size[size] for size in sorted(by_size)]
