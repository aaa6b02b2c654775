"""What the service serves and how: ``service.json``, which lies beside the modules, and the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .ports import GRPC_PORT, METRICS_PORT, SERVICE_PORT, VARIABLES, all_ports

MIB = 1 << 20
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
PortNumber = Annotated[int, Field(ge=1, le=65535)]
EndpointPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/-]*$")]


class BadSettings(ValueError):
    """``service.json`` or an environment variable cannot be what was meant; the text says all that is wrong."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ModelSettings(_Table):
    """One model: a module and how to call it."""

    name: Name
    file: FileName
    """The module, in the folder of ``service.json``."""
    version: Name = "1"
    interface: dict[str, Any] = {}
    """Interface keys as in a module's ``portalis`` section; they go before what the module says of itself."""
    limits: dict[str, int | float] = {}
    """Limits of the runtime by their names, such as ``timeout_s`` and ``max_memory_bytes``."""
    isolation: Literal["request", "batch", "instance"] = "batch"
    threads: int = Field(default=1, ge=1, le=64)
    wasm_runtime: Literal["Wasmtime", "Wasmer", "WasmEdge"] = "Wasmtime"
    """What runs the module. The last two are programs of their own, for modules of the convention `command`."""
    wasm_runtime_command: tuple[str, ...] = ()
    """How that program is started: itself and the words before its arguments. Without it the one on PATH is taken."""
    warm_up: tuple[dict[str, Any], ...] = ()
    """The inputs of the first request, as in the API. Without them zeros of the smallest shape are sent."""


class LicenseSettings(_Table):
    """The licence of what is served."""

    name: str = "NOASSERTION"
    """An SPDX identifier or expression, or another name; NOASSERTION, as in SPDX, where none is stated."""
    url: str = ""
    text: str = ""


class ServiceSettings(_Table):
    """The whole file."""

    name: str = "portalis-service"
    version: str = "0.0.0"
    description: str = ""
    service_port: PortNumber = SERVICE_PORT
    grpc_port: PortNumber = GRPC_PORT
    metrics_port: PortNumber = METRICS_PORT
    health_check_endpoint: EndpointPath = "/health"
    max_request_bytes: int = Field(default=64 * MIB, ge=1)
    max_queued_requests: int = Field(default=256, ge=1)
    """Requests of a model that wait while it works; the next one is refused with status 429."""
    body_timeout_s: float = Field(default=60.0, gt=0, le=3600)
    """Seconds within which a request's body has to arrive; then it is refused with status 408."""
    max_connections: int = Field(default=1000, ge=1, le=1_000_000)
    """Connections of HTTP, and as many of gRPC; fewer where the process may not open so many files. A new one takes the
    place of the oldest idle one; where none is idle it may ask for health, and is answered 503 to all else."""
    header_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """Seconds within which a request's headers have to arrive, the first one's from the connection on; then 408."""
    max_header_bytes: int = Field(default=64 << 10, ge=256, le=16 * MIB)
    """A request whose headers are larger, or are more than 200, is refused with 431."""
    max_buffered_bytes: int = Field(default=256 * MIB, ge=1)
    """Bytes of all requests that are read or worked on at a time, beyond the first 64 KiB of each; then 503."""
    max_response_bytes: int = Field(default=256 * MIB, ge=1)
    """A response whose tensors are larger, as raw bytes, is answered with 500 instead."""
    workers: int = Field(default=0, ge=0, le=1024)
    """Requests that are worked on at a time; 0 means four more than there are CPUs."""
    drain_s: float = Field(default=1.0, ge=0, le=600)
    """Seconds for which the service, told to stop, still takes requests on the connections it has: so long may load
    balancers need to notice."""
    license: LicenseSettings = LicenseSettings()
    models: tuple[ModelSettings, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> ServiceSettings:
        names = [model.name for model in self.models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"models has {', '.join(twice)} more than once")
        return self


def read_settings(file: Path, environment: Mapping[str, str] = os.environ) -> ServiceSettings:
    """The settings in `file`, with the ports that the environment sets. Raises BadSettings, also for ports that are
    the same."""
    try:
        settings = ServiceSettings.model_validate_json(file.read_bytes())
        ports = all_ports(settings.model_dump(include=set(VARIABLES)), environment)
    except OSError as problem:
        raise BadSettings(f"cannot read {file}: {problem.strerror}") from None
    except ValidationError as problem:
        raise BadSettings(f"{file}: {told(problem)}") from None
    except ValueError as problem:
        raise BadSettings(str(problem)) from None
    return settings.model_copy(update=ports)


def told(problem: ValidationError) -> str:
    """Everything that pydantic found wrong, each with its path, in one line."""
    found = []
    for error in problem.errors(include_url=False, include_input=False, include_context=False):
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
        message = error["msg"].removeprefix("Value error, ")
        found.append(f"{where}: {message}" if where else message)
    return "; ".join(found)
