"""Merging the metrics of several processes, as plain JSON documents.

prometheus_client's own support of several processes keeps a file for each process and kind of metric in a directory,
has no collectors (of memory and CPU time, for example), and sums or compares gauges by a mode that each declares. Here
a process is asked for its samples instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Family = dict[str, Any]
"""A metric: ``name``, ``type``, ``help``, and ``samples``, each a list of a name, a list of pairs of labels and values,
and a value."""
_RULES: Mapping[str, Callable[[float, float], float]] = {
    "wasm_service_ready": min,
    "wasm_service_uptime_seconds": max,
    "process_start_time_seconds": min,
}
_CUMULATIVE = ("counter", "histogram")


def merge_metrics(documents: Iterable[Sequence[Family]], ended: Sequence[Family] = ()) -> list[Family]:
    """One document for all processes: counters, histograms and most gauges are sums. `ended` has the counters and
    histograms of processes that have ended, as returned by `cumulative_metrics`."""
    merged: dict[str, Family] = {}
    samples: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for document in (*documents, ended):
        for family in document:
            name = family["name"]
            merged.setdefault(name, {key: family[key] for key in ("name", "type", "help")})
            rule = max if family["type"] == "info" else _RULES.get(name)
            values = samples.setdefault(name, {})
            for sample, labels, value in family["samples"]:
                key = sample, tuple((label, text) for label, text in labels)
                if key not in values:
                    values[key] = value
                elif sample.endswith("_created"):
                    values[key] = min(values[key], value)
                else:
                    values[key] = rule(values[key], value) if rule else values[key] + value
    for name, family in merged.items():
        family["samples"] = [
            [sample, [list(pair) for pair in labels], value] for (sample, labels), value in samples[name].items()
        ]
    return list(merged.values())


def cumulative_metrics(document: Sequence[Family]) -> list[Family]:
    """The metrics of `document` that do not decrease when a process ends: counters and histograms."""
    return [family for family in document if family["type"] in _CUMULATIVE]
