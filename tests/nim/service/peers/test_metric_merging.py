"""The merged metrics of several processes."""

from __future__ import annotations

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from portalis.nim.service.metrics import Metrics, write_metrics
from portalis.nim.service.peers.metric_merging import cumulative_metrics, merge_metrics


def _metrics(began: float, waits: list[float], queued: int, *, ready: bool) -> Metrics:
    metrics = Metrics("service", "1", ("a",), began)
    for seconds in waits:
        metrics.observe_wait("a", seconds)
        metrics.count_request("a", seconds, None)
    metrics.set_queue_length("a", queued)
    metrics.ready.set(ready)
    return metrics


def _values(text: bytes) -> dict[str, float]:
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_one_document_is_written_as_prometheus_client_writes_it() -> None:
    metrics = _metrics(time.time(), [0.1, 3], 2, ready=True)
    text = write_metrics(merge_metrics([metrics.document()])).decode().splitlines()
    assert any(line.startswith("# TYPE wasm_service_requests_total counter") for line in text)
    names = [line for line in text if line.startswith("#") or "_bucket" in line]
    from prometheus_client import generate_latest

    expected = generate_latest(metrics.registry).decode().splitlines()
    assert names == [line for line in expected if line.startswith("#") or "_bucket" in line]


def test_counters_and_histograms_are_sums_and_each_gauge_has_its_rule() -> None:
    first, second = _metrics(100, [0.1, 3], 2, ready=True), _metrics(100, [0.2], 5, ready=False)
    values = _values(write_metrics(merge_metrics([first.document(), second.document()])))
    model = [("model", "a")]
    assert values[f"wasm_service_queue_seconds_count{model}"] == 3
    assert values[f"wasm_service_queue_seconds_sum{model}"] == pytest.approx(3.3)
    buckets = {le: values[f"wasm_service_queue_seconds_bucket{[('le', le), *model]}"] for le in ("0.1", "0.25", "+Inf")}
    assert buckets == {"0.1": 1, "0.25": 2, "+Inf": 3}
    requests = [("code", "200"), ("model", "a"), ("protocol", "json")]
    assert values[f"wasm_service_requests_total{requests}"] == 3
    assert values[f"wasm_service_queue_requests{model}"] == 7
    assert values["wasm_service_ready[]"] == 0
    assert values[f"wasm_service_info{[('name', 'service'), ('version', '1')]}"] == 1
    assert abs(values["wasm_service_uptime_seconds[]"] - (time.time() - 100)) < 60


def test_counters_do_not_decrease_when_a_process_ends() -> None:
    ended, running = _metrics(100, [0.1, 3], 2, ready=True), _metrics(100, [0.2], 5, ready=True)
    kept = cumulative_metrics(ended.document())
    values = _values(write_metrics(merge_metrics([running.document()], kept)))
    assert values[f"wasm_service_queue_seconds_count{[('model', 'a')]}"] == 3
    assert values[f"wasm_service_queue_requests{[('model', 'a')]}"] == 5
