"""The application: the models of one folder behind HTTP."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
from fastapi import FastAPI
from prometheus_client import start_http_server

from . import about, problems, routes
from .metrics import Metrics
from .models import Models
from .settings import ServiceSettings


class Service:
    """What the routes share."""

    def __init__(self, settings: ServiceSettings, folder: Path) -> None:
        self.settings = settings
        self.models = Models(settings.models, folder)
        self.metrics = Metrics(settings.name, settings.version, tuple(self.models))
        self.metrics.ready.set_function(lambda: not self.models.state())
        self.workers = settings.workers or (os.cpu_count() or 1) + 4

    @contextlib.asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Load the models while health is already told; serve the metrics' own port beside."""
        # made here: it belongs to the event loop
        self.limiter = anyio.CapacityLimiter(self.workers)
        self.models.start()
        server = None
        if self.settings.metrics_port != self.settings.service_port:
            server, _thread = start_http_server(self.settings.metrics_port, registry=self.metrics.registry)
        try:
            yield
        finally:
            if server is not None:
                server.shutdown()
                server.server_close()
            self.models.close()


def create_app(settings: ServiceSettings, folder: Path) -> FastAPI:
    """The ASGI application for the modules in `folder`. Models are loaded when it starts, in the background."""
    service = Service(settings, folder)
    app = FastAPI(
        title=settings.name,
        version=settings.version,
        description=settings.description,
        lifespan=service.lifespan,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    problems.install(app)
    app.include_router(about.router(service))
    app.include_router(routes.router(service))
    return app
