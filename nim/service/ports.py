"""Which ports the service listens on. The health probe asks too, so this needs the standard library only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import combinations

SERVICE_VARIABLES = ("NIM_HTTP_API_PORT", "NIM_SERVER_PORT", "SERVICE_PORT")  # the first one that is set counts
GRPC_VARIABLES = ("NIM_GRPC_API_PORT", "GRPC_PORT")
METRICS_VARIABLES = ("METRICS_PORT",)
SERVICE_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 9090
VARIABLES = {"service_port": SERVICE_VARIABLES, "grpc_port": GRPC_VARIABLES, "metrics_port": METRICS_VARIABLES}
"""The variables of each setting."""


def service_port(default: int = SERVICE_PORT, environment: Mapping[str, str] = os.environ) -> int:
    """The port of the API. Raises ValueError, naming the variable, when one holds no port."""
    return _port(SERVICE_VARIABLES, default, environment)


def grpc_port(default: int = GRPC_PORT, environment: Mapping[str, str] = os.environ) -> int:
    """The port of the gRPC service. Raises ValueError like `service_port`."""
    return _port(GRPC_VARIABLES, default, environment)


def metrics_port(default: int = METRICS_PORT, environment: Mapping[str, str] = os.environ) -> int:
    """The port of the metrics alone. Raises ValueError like `service_port`."""
    return _port(METRICS_VARIABLES, default, environment)


def all_ports(defaults: Mapping[str, int], environment: Mapping[str, str] = os.environ) -> dict[str, int]:
    """The three ports by the names of their settings. Raises ValueError for what is no port, or is used twice."""
    found = {key: _port(names, defaults[key], environment) for key, names in VARIABLES.items()}
    twice = same(found)
    if twice is not None:
        one, other = twice
        raise ValueError(
            f"{source(one, environment)} and {source(other, environment)} are both {found[one]};"
            f" they must differ: set {VARIABLES[one][0]} or {VARIABLES[other][0]}"
        )
    return found


def same(ports: Mapping[str, int]) -> tuple[str, str] | None:
    """Two settings that have the same port, where there are any."""
    return next(((one, other) for one, other in combinations(ports, 2) if ports[one] == ports[other]), None)


def source(setting: str, environment: Mapping[str, str] = os.environ) -> str:
    """Where the port called `setting` comes from: the variable that is set, else the setting itself."""
    return next((name for name in VARIABLES[setting] if environment.get(name, "").strip()), setting)


def _port(variables: tuple[str, ...], default: int, environment: Mapping[str, str]) -> int:
    for name in variables:
        text = environment.get(name, "").strip()
        if not text:
            continue
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535):
            raise ValueError(f"{name} must be a port from 1 to 65535, not {text!r}")
        return int(text)
    return default
