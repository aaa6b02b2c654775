"""The ports that the service listens on. The health probe reads them too: standard library only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import combinations

SERVICE_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 9090
MAX_PORT = 65535
VARIABLES = {
    "service_port": ("NIM_HTTP_API_PORT", "NIM_SERVER_PORT", "SERVICE_PORT"),
    "grpc_port": ("NIM_GRPC_API_PORT", "GRPC_PORT"),
    "metrics_port": ("METRICS_PORT",),
}
"""The environment variables that override each setting; the first that is set is used."""


def service_port(default: int = SERVICE_PORT, environment: Mapping[str, str] = os.environ) -> int:
    """The port of the HTTP API. Raises ValueError, which names the variable, if a variable is not a port."""
    return _port(VARIABLES["service_port"], default, environment)


def all_ports(defaults: Mapping[str, int], environment: Mapping[str, str] = os.environ) -> dict[str, int]:
    """The three ports by the names of their settings. Raises ValueError for an invalid port and for equal ports."""
    ports = {setting: _port(names, defaults[setting], environment) for setting, names in VARIABLES.items()}
    duplicates = duplicate_ports(ports)
    if duplicates is not None:
        first, second = duplicates
        raise ValueError(
            f"{port_source(first, environment)} and {port_source(second, environment)} are both {ports[first]};"
            f" they must differ: set {VARIABLES[first][0]} or {VARIABLES[second][0]}"
        )
    return ports


def duplicate_ports(ports: Mapping[str, int]) -> tuple[str, str] | None:
    """The first two settings with the same port; None if all differ."""
    return next((pair for pair in combinations(ports, 2) if ports[pair[0]] == ports[pair[1]]), None)


def port_source(setting: str, environment: Mapping[str, str] = os.environ) -> str:
    """The name of the variable that sets the port `setting`; `setting` itself if no variable does."""
    return next((name for name in VARIABLES[setting] if environment.get(name, "").strip()), setting)


def _port(variables: tuple[str, ...], default: int, environment: Mapping[str, str]) -> int:
    for name in variables:
        text = environment.get(name, "").strip()
        if not text:
            continue
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MAX_PORT):
            raise ValueError(f"{name} must be a port from 1 to {MAX_PORT}, not {text!r}")
        return int(text)
    return default
