"""The parts of the service that all endpoints share, and their lifetime."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import anyio

from .admission import Admission, probe_paths
from .codec import ParsedRequest
from .codec.dispatch import Codec
from .drain import Drain
from .memory_budget import MemoryBudget
from .metrics import Metrics
from .model_control import ModelControl
from .models import ServedModels
from .module_model import SchedulerOptions
from .scheduling import Outputs
from .served_model import ServedModel
from .settings import ServiceSettings
from .shared_memory import RegionRegistry, RegionRunner, allowed_regions


class Service:
    """The models in `folder`, and the shared state of HTTP and gRPC. `host` is the address on which ports listen."""

    metrics_limiter: anyio.CapacityLimiter
    """The limiter of the thread that writes metrics. It exists inside `running` only, as does `codec`."""
    codec: Codec

    def __init__(self, settings: ServiceSettings, folder: Path, host: str) -> None:
        self.settings, self.host = settings, host
        self.drain = Drain()
        self.probes = probe_paths(settings)
        self.budget = MemoryBudget(settings.max_buffered_bytes)
        self.metrics = Metrics(settings.name, settings.version, tuple(settings.versions()))
        self.metrics.ready.set_function(lambda: not self.not_ready_reason())
        self.admission = Admission(settings, self.probes, self.metrics.count_refused_connection)
        self.regions = RegionRegistry(allowed_regions(settings.max_shared_memory_regions))
        self._region_runner = RegionRunner(self.regions, self.budget, settings.max_request_bytes)
        self._workers = settings.workers or (os.cpu_count() or 1) + 4
        options = SchedulerOptions(settings.max_queued_requests, self._workers, self.metrics)
        self.models = ServedModels(settings, folder, options, self.budget)
        self.control = ModelControl(self.models, explicit=settings.model_control == "explicit")

    def not_ready_reason(self) -> str:
        """The reason why the service is not ready; "" if it is."""
        return "it is stopping" if self.drain.stopping else self.models.not_ready_reason()

    def run(self, model: ServedModel, request: ParsedRequest) -> Awaitable[Outputs]:
        """The outputs of `model`, arrays by name. Tensors in shared memory are read and written. Raises
        RequestError."""
        if request.uses_regions:
            return self._region_runner.run(model, request, self.codec.in_thread)
        return model.run(request)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the models in the background. At the end, the decoder processes are ended, then the models, and regions
        of shared memory are closed."""
        # these belong to the event loop
        self.metrics_limiter = anyio.CapacityLimiter(1)
        self.codec = Codec(self._workers, self.settings.max_request_bytes, self.settings.max_response_bytes)
        self.models.start()
        try:
            yield
        finally:
            self.codec.close()
            self.control.close()
            self.models.close()
            self.regions.close()
