"""What the service counts, for Prometheus."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from .problems import Problem

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The metrics of one service, in a registry of its own."""

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
            "wasm_service_requests", "Inference requests by HTTP status", ["model", "code"], registry=registry
        )
        self._seconds = Histogram(
            "wasm_service_request_seconds",
            "From the whole request read to the response written",
            ["model"],
            registry=registry,
            buckets=_BUCKETS,
        )
        self._traps = Counter("wasm_service_traps", "Guests that trapped", ["model"], registry=registry)
        for model in models:  # so that they are there, at 0, from the start
            self._requests.labels(model, "200")
            self._seconds.labels(model)
            self._traps.labels(model)

    def count(self, model: str, seconds: float, problem: Problem | None) -> None:
        """Note one request."""
        self._requests.labels(model, str(problem.status if problem else 200)).inc()
        self._seconds.labels(model).observe(seconds)
        if problem is not None and problem.kind == "Trap":
            self._traps.labels(model).inc()
