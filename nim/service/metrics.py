"""The metrics of the service, for Prometheus. Each request counts several of them, in a few microseconds."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator

import anyio.to_thread
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from .peers.metric_merging import Family
from .request_errors import RequestError

PROTOCOLS = ("json", "v2", "grpc")
"""``/v1/models/{name}/infer``, the Open Inference Protocol over HTTP, and the same over gRPC."""
REFUSALS = ("400", "408", "431", "503", "idle", "unread")
"""Reasons for which the service ends a connection: the HTTP status of its error, ``idle`` (a new connection replaced
it), or ``unread`` (the client did not read the response)."""
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The metrics of one process of a service that started at `began` (``time.time``), in a separate registry. They
    are the `SchedulerMetrics` of all models."""

    def __init__(self, name: str, version: str, models: tuple[str, ...], began: float) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("wasm_service", "The service", registry=registry).info({"name": name, "version": version})
        uptime = Gauge("wasm_service_uptime_seconds", "Seconds since the service started", registry=registry)
        uptime.set_function(lambda: time.time() - began)
        self.ready = Gauge("wasm_service_ready", "1 when every model has answered", registry=registry)
        self.active = Gauge("wasm_service_active_requests", "Requests in flight", registry=registry)
        self._requests = Counter(
            "wasm_service_requests",
            "Inference requests by protocol and HTTP status; for gRPC the HTTP status that corresponds to its code",
            ["model", "code", "protocol"],
            registry=registry,
        )
        self._seconds = self._histogram(
            "request_seconds", "Time from reading the complete request to writing the response"
        )
        self._depth = Gauge("wasm_service_queue_requests", "Requests that wait", ["model"], registry=registry)
        self._waits = self._histogram("queue_seconds", "Time for which a request waited")
        self._batches = self._histogram("batch_requests", "Requests that ran together", _SIZES)
        self._rows = self._histogram("batch_rows", "Rows of the batches that ran", _SIZES)
        self._failures = Counter(
            "wasm_service_failures", "Requests that failed in the model, by kind", ["model", "kind"], registry=registry
        )
        self._traps = Counter("wasm_service_traps", "Guests that trapped", ["model"], registry=registry)
        self._refused = Counter(
            "wasm_service_refused_connections",
            "Connections that the service ended before a request that it could answer, by reason",
            ["reason"],
            registry=registry,
        )
        for reason in REFUSALS:
            self._refused.labels(reason)
        # `labels` takes longer than counting does
        self._request_counter = functools.lru_cache(maxsize=None)(self._requests.labels)
        self._models = {model: _ModelMetrics(self, model) for model in models}

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        return Histogram(f"wasm_service_{name}", text, ["model"], registry=self.registry, buckets=buckets)

    def document(self) -> list[Family]:
        """All metrics, in the form that can be merged with those of other processes."""
        return [
            {
                "name": family.name,
                "type": family.type,
                "help": family.documentation,
                "samples": [[each.name, sorted(each.labels.items()), each.value] for each in family.samples],
            }
            for family in self.registry.collect()
        ]

    async def text(self, limiter: anyio.CapacityLimiter) -> bytes:
        """All metrics in Prometheus' text format, written in a thread of `limiter`: many models take long."""
        return await anyio.to_thread.run_sync(generate_latest, self.registry, limiter=limiter)

    def count_request(self, model: str, seconds: float, error: RequestError | None, protocol: str = "json") -> None:
        """Count a request of a protocol (`PROTOCOLS`) that took `seconds`, and failed with `error` or succeeded."""
        self._request_counter(model, str(error.status if error else 200), protocol).inc()
        self._models[model].seconds.observe(seconds)

    def count_refused_connection(self, reason: str) -> None:
        """Count a connection that the service ended, for one of `REFUSALS`."""
        self._refused.labels(reason).inc()

    def set_queue_length(self, model: str, n: int) -> None:
        """Note that `n` requests of `model` wait now."""
        self._models[model].depth.set(n)

    def observe_batch(self, model: str, size: int, rows: int) -> None:
        """Note that `size` requests with `rows` rows in total are about to run together."""
        metrics = self._models[model]
        metrics.batches.observe(size)
        metrics.rows.observe(rows)

    def observe_wait(self, model: str, seconds: float) -> None:
        """Note the time for which a request waited until its batch started."""
        self._models[model].waits.observe(seconds)

    def count_failure(self, model: str, kind: str) -> None:
        """Count a request that failed in the model. `kind` is that of its RequestError, for example ``Trap``."""
        self._failures.labels(model, kind).inc()
        if kind == "Trap":
            self._models[model].traps.inc()


def write_metrics(document: Iterable[Family]) -> bytes:
    """A merged document in Prometheus' text format."""
    return generate_latest(_Families(document))


class _Families(Collector):
    def __init__(self, document: Iterable[Family]) -> None:
        self._document = document

    def collect(self) -> Iterator[Metric]:
        for family in self._document:
            metric = Metric(family["name"], family["help"], family["type"])
            for name, labels, value in family["samples"]:
                metric.add_sample(name, dict(labels), value)
            yield metric


class _ModelMetrics:
    """The metrics of one model. They exist from the start, with the value 0."""

    __slots__ = ("batches", "depth", "rows", "seconds", "traps", "waits")

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.seconds = metrics._seconds.labels(model)
        self.depth = metrics._depth.labels(model)
        self.waits = metrics._waits.labels(model)
        self.batches = metrics._batches.labels(model)
        self.rows = metrics._rows.labels(model)
        self.traps = metrics._traps.labels(model)
        for protocol in PROTOCOLS:
            metrics._request_counter(model, "200", protocol)
