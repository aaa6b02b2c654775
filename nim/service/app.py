"""The application: the models of one folder behind HTTP and gRPC."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
from fastapi import FastAPI
from starlette.types import ASGIApp

from . import request_errors as problems
from .admission import Admission
from .codec.decoder_pool import Decoders
from .drain import Drain
from .grpc.grpc_server import GrpcServer
from .http import inference_endpoints as documented
from .http import management_v1 as about
from .http import management_v2 as v2
from .http import metrics_port
from .http.inference import Infer
from .http.middleware import Requests, probe_paths
from .memory_budget import Budget
from .metrics import Metrics
from .models import Models, Queueing
from .settings import ServiceSettings


class Service:
    """What the routes share."""

    def __init__(self, settings: ServiceSettings, folder: Path, host: str) -> None:
        self.settings, self.host = settings, host
        self.drain = Drain()
        self.probes = probe_paths(settings)
        self.budget = Budget(settings.max_buffered_bytes)
        self.metrics = Metrics(settings.name, settings.version, tuple(model.name for model in settings.models))
        self.metrics.ready.set_function(lambda: not self.state())
        self.admission = Admission(settings, self.probes, self.metrics.refused)
        self.workers = settings.workers or (os.cpu_count() or 1) + 4
        queueing = Queueing(settings.max_queued_requests, self.workers, self.metrics)
        self.models = Models(settings.models, folder, queueing)

    def state(self) -> str:
        """Why the service is not ready, "" when it is."""
        return "it is stopping" if self.drain.stopping else self.models.state()

    @contextlib.asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Load the models while health is already told; serve gRPC and the metrics' own port beside."""
        # made here: it belongs to the event loop
        self.metrics_limiter = anyio.CapacityLimiter(1)
        self.limiter = anyio.CapacityLimiter(self.workers)
        self.decoders = Decoders(self.settings.max_request_bytes)
        self.models.start()
        grpc = GrpcServer(self, self.host, self.settings.grpc_port)
        self.drain.also(grpc.stop)
        try:
            await grpc.start()
            async with contextlib.AsyncExitStack() as stack:
                if self.settings.metrics_port != self.settings.service_port:
                    await stack.enter_async_context(metrics_port.serving(self))
                yield
        finally:
            await self.drain.end_others()
            self.decoders.close()
            self.models.close()


class Application(FastAPI):
    """The service as an ASGI application."""

    service: Service

    def build_middleware_stack(self) -> ASGIApp:
        """With ours outside of the framework's own, which answers what fails without a word to those inside."""
        return Requests(Infer(super().build_middleware_stack(), self.service), self.service)


def create_app(settings: ServiceSettings, folder: Path, host: str = "0.0.0.0") -> Application:  # noqa: S104
    """The ASGI application for the modules in `folder`. Models are loaded when it starts, in the background; `host` is
    where the ports beside HTTP's listen."""
    service = Service(settings, folder, host)
    app = Application(
        title=settings.name,
        version=settings.version,
        description=settings.description,
        lifespan=service.lifespan,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    app.service = service
    problems.install(app)
    app.include_router(about.router(service))
    app.include_router(v2.router(service))
    app.include_router(documented.router())
    return app
