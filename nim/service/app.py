"""The ASGI application: combines one `Service` with its HTTP and gRPC endpoints."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp

from .grpc import GrpcServer
from .http import (
    InferenceFastPath,
    InferenceHandler,
    RequestMiddleware,
    control_router,
    inference_router,
    install_error_handlers,
    management_v1_router,
    management_v2_router,
    region_router,
    serve_metrics,
    settings_router,
)
from .service import Service
from .settings import ServiceSettings
from .worker_context import WorkerContext


class Application(FastAPI):
    """The service as an ASGI application."""

    service: Service
    inference_handler: InferenceHandler

    def build_middleware_stack(self) -> ASGIApp:
        """The service's middleware around that of the framework.

        It must be outermost: the framework's outermost layer responds to unexpected errors, and the middleware inside
        that layer does not see these responses.
        """
        fast_path = InferenceFastPath(super().build_middleware_stack(), self.inference_handler)
        return RequestMiddleware(fast_path, self.service)


def create_app(
    settings: ServiceSettings,
    folder: Path,
    host: str = "0.0.0.0",  # noqa: S104
    worker: WorkerContext | None = None,
) -> Application:
    """The ASGI application for the modules in `folder`. Models are loaded in the background when it starts.

    `host` is the address on which the gRPC and metrics ports listen. `worker` is set in a worker process.
    """
    service = Service(settings, folder, host, worker)
    app = Application(
        title=settings.name,
        version=settings.version,
        description=settings.description,
        lifespan=lambda _: lifespan(service),
        docs_url=None,  # the documentation pages load scripts from other servers
        redoc_url=None,
        redirect_slashes=False,  # as on Triton, a path with another slash at its end does not exist
    )
    app.service, app.inference_handler = service, InferenceHandler(service)
    install_error_handlers(app)
    app.include_router(management_v1_router(service))
    app.include_router(management_v2_router(service))
    app.include_router(control_router(service))
    app.include_router(region_router(service))
    app.include_router(settings_router(service))
    app.include_router(inference_router(app.inference_handler))
    return app


@contextlib.asynccontextmanager
async def lifespan(service: Service) -> AsyncIterator[None]:
    """Run `service`, its gRPC server and, if it has a port of its own, the metrics server. These servers end before
    the models."""
    settings = service.settings
    async with service.running():
        await service.before_listening()
        grpc = GrpcServer(service, service.host, settings.grpc_port)
        service.drain.register_server(grpc.stop)
        service.drain.register_server(service.models.reject_backlogs)
        try:
            await grpc.start()
            async with contextlib.AsyncExitStack() as stack:
                if settings.metrics_port != settings.service_port:
                    await stack.enter_async_context(serve_metrics(service))
                yield
        finally:
            await service.drain.stop_servers()
