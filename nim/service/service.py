"""The parts of the service that all endpoints share, and their lifetime."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from .admission import Admission, probe_paths
from .codec import ParsedRequest
from .codec.dispatch import Codec
from .drain import Drain
from .loop_calls import OnWait
from .memory_budget import MemoryBudget
from .metrics import Metrics, write_metrics
from .model_control import ModelControl
from .models import ServedModels
from .module_model import SchedulerOptions
from .scheduling import Outputs
from .served_model import ServedModel
from .settings import ServiceSettings
from .shared_control import SharedControl
from .shared_memory import RegionChanges, RegionRegistry, RegionRunner, allowed_regions
from .worker_context import WorkerContext

_POLL_S = 0.02


class Service:
    """The models in `folder`, and the shared state of HTTP and gRPC. `host` is the address on which ports listen."""

    metrics_limiter: anyio.CapacityLimiter
    """The limiter of the thread that writes metrics. It exists inside `running` only, as do `codec` and `loop`."""
    codec: Codec
    loop: asyncio.AbstractEventLoop
    """The event loop of the service."""

    def __init__(self, settings: ServiceSettings, folder: Path, host: str, worker: WorkerContext | None = None) -> None:
        self.settings, self.host = settings, host
        self._worker = worker or WorkerContext()
        self._link = self._worker.link
        self.drain = Drain()
        self.probes = probe_paths(settings)
        self.budget = MemoryBudget(settings.max_buffered_bytes)
        self.metrics = Metrics(settings.name, settings.version, tuple(settings.versions()), self._worker.began)
        self.metrics.ready.set_function(lambda: not self.not_ready_reason())
        self.admission = Admission(settings, self.probes, self.metrics.count_refused_connection)
        self.regions = RegionRegistry(allowed_regions(settings.max_shared_memory_regions))
        self.region_changes = RegionChanges(self.regions, self._link)
        self._region_runner = RegionRunner(self.regions, self.budget, settings.max_request_bytes)
        self.workers = settings.workers or (os.cpu_count() or 1) + 4
        """Maximum number of threads that run one model."""
        options = SchedulerOptions(settings.max_queued_requests, self.workers, self.metrics)
        self.models = ServedModels(settings, folder, options, self.budget)
        explicit = settings.model_control == "explicit"
        self._shared_control = SharedControl(self.models, self._link, explicit=explicit) if self._link else None
        self.control = self._shared_control or ModelControl(self.models, explicit=explicit)
        self._add_handlers()

    @property
    def metrics_socket(self) -> socket.socket | None:
        """The socket that listens on the metrics port, if the supervisor has opened it."""
        return self._worker.metrics_socket

    def not_ready_reason(self) -> str:
        """The reason why the service is not ready; "" if it is."""
        if self.drain.stopping:
            return "it is stopping"
        return self.models.not_ready_reason() or (self._link.not_ready_reason() if self._link else "")

    def model_not_ready_reason(self, model: ServedModel) -> str:
        """The reason why `model` is not ready, in this process or another one of the service; "" if it is."""
        return model.not_ready_reason() or (self._link.model_reason(model.name) if self._link else "")

    async def metrics_text(self) -> bytes:
        """The metrics of the service in Prometheus' text format. Raises RequestError with status 503."""
        if self._link is None:
            return await self.metrics.text(self.metrics_limiter)
        async with self.metrics_limiter:
            document = await self._link.ask("metrics")
            return await anyio.to_thread.run_sync(write_metrics, document)

    async def statistics(self, models: Iterable[ServedModel]) -> list[dict[str, Any]]:
        """The entries of ``model_stats`` for `models`. Raises RequestError with status 503 before the first request of
        a model has run."""
        entries = [model.statistics_document() for model in models]
        if self._link is None or not entries:
            return entries
        merged = await self._link.ask("statistics", [entry["name"] for entry in entries])
        return [merged.get(entry["name"], entry) for entry in entries]

    def run(self, model: ServedModel, request: ParsedRequest) -> Awaitable[Outputs]:
        """The outputs of `model`, arrays by name. Tensors in shared memory are read and written. Raises
        RequestError."""
        if request.uses_regions:
            return self._region_runner.run(model, request, self.codec.in_thread)
        return model.run(request)

    def run_blocking(self, model: ServedModel, request: ParsedRequest, on_wait: OnWait) -> Outputs:
        """The same for the calling thread, which waits. If `on_wait` cancels the request, it raises RequestError with
        status 499."""
        if request.uses_regions:
            return self._region_runner.run_blocking(model, request, self.loop, on_wait)
        return model.run_blocking(request, self.loop, on_wait)

    def try_run(self, model: ServedModel, request: ParsedRequest) -> Outputs | None:
        """The outputs, if they can be computed in this thread in a fraction of a millisecond; None otherwise."""
        if request.uses_regions:
            return self._region_runner.try_run(model, request)
        return model.try_run(request)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the models in the background. At the end, the decoder processes are ended, then the models, and regions
        of shared memory are closed."""
        self.loop = asyncio.get_running_loop()
        # these belong to the event loop
        self.metrics_limiter = anyio.CapacityLimiter(1)
        self.codec = Codec(self.workers, self.settings.max_request_bytes, self.settings.max_response_bytes)
        self._worker.start_loading(self.models.start)
        try:
            yield
        finally:
            self.codec.close()
            self.control.close()
            self.models.close()
            self.regions.close()

    def restore(self, regions: Sequence[Any], control_requests: Iterable[Any]) -> list[str]:
        """Restore the state that other processes have: regions of shared memory, and models that were loaded or
        unloaded. Returns the names of regions that could not be registered."""
        if self._shared_control is not None:
            self._shared_control.restore(control_requests)
        return self.region_changes.restore(regions)

    async def before_listening(self) -> None:
        """Wait until this process can serve requests, if others already do."""
        while (  # noqa: ASYNC110  # models are loaded in threads
            not self._worker.listens_at_once and not self.drain.stopping and not self._is_settled()
        ):
            await asyncio.sleep(_POLL_S)

    def _is_settled(self) -> bool:
        restored = self._shared_control is None or self._shared_control.is_restored()
        return restored and all(model.settled.is_set() for model in self.models.values())

    def _add_handlers(self) -> None:
        """Answer the supervisor's questions for the part of this process."""
        if self._link is not None:
            self._link.handlers["metrics"] = lambda _: self.metrics.document()
            self._link.handlers["statistics"] = lambda _: self._own_statistics()

    def _own_statistics(self) -> dict[str, Any]:
        return {name: model.statistics_document() for name, model in self.models.items() if model.ready}
