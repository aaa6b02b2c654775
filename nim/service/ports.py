"""Which ports the service listens on. The health probe asks too, so this needs the standard library only."""

from __future__ import annotations

import os
from collections.abc import Mapping

SERVICE_VARIABLES = ("NIM_HTTP_API_PORT", "NIM_SERVER_PORT", "SERVICE_PORT")  # the first one that is set counts
GRPC_VARIABLES = ("NIM_GRPC_API_PORT", "GRPC_PORT")
METRICS_VARIABLES = ("METRICS_PORT",)
SERVICE_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 9090


def service_port(default: int = SERVICE_PORT, environment: Mapping[str, str] = os.environ) -> int:
    """The port of the API. Raises ValueError, naming the variable, when one holds no port."""
    return _port(SERVICE_VARIABLES, default, environment)


def grpc_port(default: int = GRPC_PORT, environment: Mapping[str, str] = os.environ) -> int:
    """The port of the gRPC service. Raises ValueError like `service_port`."""
    return _port(GRPC_VARIABLES, default, environment)


def metrics_port(default: int = METRICS_PORT, environment: Mapping[str, str] = os.environ) -> int:
    """The port of the metrics alone. Raises ValueError like `service_port`."""
    return _port(METRICS_VARIABLES, default, environment)


def _port(variables: tuple[str, ...], default: int, environment: Mapping[str, str]) -> int:
    for name in variables:
        text = environment.get(name, "").strip()
        if not text:
            continue
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535):
            raise ValueError(f"{name} must be a port from 1 to 65535, not {text!r}")
        return int(text)
    return default
