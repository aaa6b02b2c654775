"""What the service counts, for Prometheus. All of it is on the way of each request, and takes a few microseconds."""

from __future__ import annotations

import functools
import time

import anyio.to_thread
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

from .request_errors import RequestError

PROTOCOLS = ("json", "v2", "grpc")
"""``/v1/models/{name}/infer``, the Open Inference Protocol over HTTP, and over gRPC."""
REFUSALS = ("400", "408", "431", "503", "idle", "unread")
"""Why a connection is ended: the HTTP status that it got, a newer one took its place, its response was not read."""
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The metrics of one service, in a registry of its own. It counts for the schedulers too (`SchedulerMetrics`)."""

    def __init__(self, name: str, version: str, models: tuple[str, ...]) -> None:
        self.registry = registry = CollectorRegistry()
        began = time.time()
        ProcessCollector(registry=registry)
        Info("wasm_service", "The service", registry=registry).info({"name": name, "version": version})
        uptime = Gauge("wasm_service_uptime_seconds", "Seconds since the service started", registry=registry)
        uptime.set_function(lambda: time.time() - began)
        self.ready = Gauge("wasm_service_ready", "1 when every model has answered", registry=registry)
        self.active = Gauge("wasm_service_active_requests", "Requests being worked on", registry=registry)
        self._requests = Counter(
            "wasm_service_requests",
            "Inference requests by protocol and HTTP status; of gRPC the status that its code is like",
            ["model", "code", "protocol"],
            registry=registry,
        )
        self._seconds = self._histogram("request_seconds", "From the whole request read to the response written")
        self._depth = Gauge("wasm_service_queue_requests", "Requests that wait", ["model"], registry=registry)
        self._waited = self._histogram("queue_seconds", "How long a request waited")
        self._batches = self._histogram("batch_requests", "Requests that ran together", _SIZES)
        self._rows = self._histogram("batch_rows", "Rows of the batches that ran", _SIZES)
        self._failures = Counter(
            "wasm_service_failures", "Requests that failed in the model, by kind", ["model", "kind"], registry=registry
        )
        self._traps = Counter("wasm_service_traps", "Guests that trapped", ["model"], registry=registry)
        self._refused = Counter(
            "wasm_service_refused_connections",
            "Connections that were ended before they asked anything that could be answered, by reason",
            ["reason"],
            registry=registry,
        )
        for reason in REFUSALS:
            self._refused.labels(reason)
        # `labels` takes longer than counting does
        self._request_child = functools.lru_cache(maxsize=None)(self._requests.labels)
        self._of = {model: _Children(self, model) for model in models}

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        return Histogram(f"wasm_service_{name}", text, ["model"], registry=self.registry, buckets=buckets)

    async def text(self, limiter: anyio.CapacityLimiter) -> bytes:
        """All metrics in Prometheus' text format, written in a thread of `limiter`: many models take long."""
        return await anyio.to_thread.run_sync(generate_latest, self.registry, limiter=limiter)

    def count_request(self, model: str, seconds: float, problem: RequestError | None, protocol: str = "json") -> None:
        """Note one request, of one of `PROTOCOLS`, that took `seconds`."""
        self._request_child(model, str(problem.status if problem else 200), protocol).inc()
        self._of[model].seconds.observe(seconds)

    def count_refused_connection(self, reason: str) -> None:
        """A connection was ended by the service, for one of `REFUSALS`."""
        self._refused.labels(reason).inc()

    def set_queue_length(self, model: str, n: int) -> None:
        """`n` requests of `model` wait now."""
        self._of[model].depth.set(n)

    def observe_batch(self, model: str, size: int, rows: int) -> None:
        """`size` requests with `rows` rows in all are about to run together."""
        of = self._of[model]
        of.batches.observe(size)
        of.rows.observe(rows)

    def observe_wait(self, model: str, seconds: float) -> None:
        """A request has waited so long until its batch was taken."""
        self._of[model].waited.observe(seconds)

    def count_failure(self, model: str, kind: str) -> None:
        """A request has failed in the model; `kind` is that of its RequestError, such as ``Trap``."""
        self._failures.labels(model, kind).inc()
        if kind == "Trap":
            self._of[model].traps.inc()


class _Children:
    """The metrics of one model. They are there, at 0, from the start."""

    __slots__ = ("batches", "depth", "rows", "seconds", "traps", "waited")

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.seconds = metrics._seconds.labels(model)
        self.depth = metrics._depth.labels(model)
        self.waited = metrics._waited.labels(model)
        self.batches = metrics._batches.labels(model)
        self.rows = metrics._rows.labels(model)
        self.traps = metrics._traps.labels(model)
        for protocol in PROTOCOLS:
            metrics._request_child(model, "200", protocol)
