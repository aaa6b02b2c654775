"""The service over HTTP: connections, middleware, inference and management endpoints."""

from .control_endpoints import control_router
from .direct_inference import DirectInference
from .error_responses import install_error_handlers
from .http_server import DrainingServer, serve_metrics, uvicorn_config
from .inference import InferenceHandler
from .inference_endpoints import InferenceFastPath, inference_router
from .management_v1 import management_v1_router
from .management_v2 import management_v2_router
from .middleware import RequestMiddleware
from .region_endpoints import region_router
from .settings_endpoints import settings_router

__all__ = [
    "DirectInference",
    "DrainingServer",
    "InferenceFastPath",
    "InferenceHandler",
    "RequestMiddleware",
    "control_router",
    "inference_router",
    "install_error_handlers",
    "management_v1_router",
    "management_v2_router",
    "region_router",
    "serve_metrics",
    "settings_router",
    "uvicorn_config",
]
