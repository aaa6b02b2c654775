"""The settings of the service: the file ``service.json`` next to the modules, and environment variables."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from .ensemble_checks import ensemble_problems
from .ensemble_settings import EnsembleSettings
from .ports import GRPC_PORT, MAX_PORT, METRICS_PORT, SERVICE_PORT, VARIABLES, all_ports
from .sequence_settings import SequenceSettings
from .settings_table import FileName, Name, SettingsTable

MIB = 1 << 20
MAX_WORKER_PROCESSES = 64
WORKERS_VARIABLE = "NIM_WORKER_PROCESSES"
"""The environment variable that overrides `worker_processes`."""
PortNumber = Annotated[int, Field(ge=1, le=MAX_PORT)]
CONTROL_VARIABLE, LOAD_VARIABLE = "NIM_MODEL_CONTROL", "NIM_LOAD_MODELS"
_MAX_PROBLEMS = 20  # in one message
EndpointPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/-]*$")]


class InvalidSettings(ValueError):
    """``service.json`` or an environment variable is invalid. The message lists every problem."""


class ModelSettings(SettingsTable):
    """One model: a module and how it is called."""

    name: Name
    file: FileName
    """The module's file name, in the directory of ``service.json``."""
    version: Name = "1"
    interface: dict[str, Any] = {}  # noqa: RUF012  # pydantic copies defaults
    """Interface keys as in a module's ``portalis`` section; they override those that the module declares."""
    limits: dict[str, int | float] = {}  # noqa: RUF012
    """Limits of the runtime by name, for example ``timeout_s`` and ``max_memory_bytes``."""
    isolation: Literal["request", "batch", "instance"] = "batch"
    threads: int = Field(default=1, ge=1, le=64)
    wasm_runtime: Literal["Wasmtime", "Wasmer", "WasmEdge"] = "Wasmtime"
    """The runtime of the module. Wasmer and WasmEdge run as separate processes, and support the convention
    `command` only."""
    wasm_runtime_command: tuple[str, ...] = ()
    """The executable of Wasmer or WasmEdge and its leading arguments. By default, the executable on PATH is used."""
    labels: dict[str, FileName] = {}  # noqa: RUF012
    """Label files by output, in the directory of ``service.json``: line i is the label of class i, for clients that
    request classes."""
    formats: dict[str, Literal["NHWC", "NCHW"]] = {}  # noqa: RUF012
    """The order of the dimensions of image inputs, by input: what the configuration reports to clients of images."""
    warm_up: tuple[dict[str, Any], ...] = ()
    """The inputs of the first request, as in the API. By default, zeros of the smallest shape are sent."""
    sequence_batching: SequenceSettings | None = None
    """Makes the model stateful: each request belongs to a sequence."""
    max_sequences: int = Field(default=0, ge=0, le=1024)
    """Maximum number of sequences that have an instance; 0 means as many as in Triton: the batch size of the model, or
    `max_candidate_sequences`, for each of `sequence_instances`."""
    sequence_instances: int = Field(default=1, ge=1, le=1024)
    """The number of Triton's instances of the model, for the default of `max_sequences`."""

    @model_validator(mode="after")
    def _can_have_sequences(self) -> ModelSettings:
        if self.sequence_batching is None:
            for key in ("max_sequences", "sequence_instances"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} requires sequence_batching")
        if self.sequence_batching is not None and self.wasm_runtime != "Wasmtime":
            raise ValueError(f"sequence_batching requires Wasmtime; {self.wasm_runtime} keeps no state")
        return self


class LicenseSettings(SettingsTable):
    """The license of the models."""

    name: str = "NOASSERTION"
    """An SPDX identifier or expression, or another name; NOASSERTION, as in SPDX, if no license is stated."""
    url: str = ""
    text: str = ""


class ServiceSettings(SettingsTable):
    """The contents of ``service.json``."""

    name: str = "portalis-service"
    version: str = "0.0.0"
    description: str = ""
    service_port: PortNumber = SERVICE_PORT
    grpc_port: PortNumber = GRPC_PORT
    metrics_port: PortNumber = METRICS_PORT
    health_check_endpoint: EndpointPath = "/health"
    max_request_bytes: int = Field(default=64 * MIB, ge=1)
    max_queued_requests: int = Field(default=256, ge=1)
    """Maximum number of queued requests per model; the next one is rejected with status 429."""
    body_timeout_s: float = Field(default=60.0, gt=0, le=3600)
    """Time limit in seconds for receiving a request's body; then the request is rejected with status 408."""
    max_connections: int = Field(default=1000, ge=1, le=1_000_000)
    """Maximum number of HTTP connections, and of gRPC connections; fewer if the process may not open that many files.
    A new connection replaces the oldest idle one. If none is idle, only its health requests are served; other requests
    are rejected with status 503."""
    header_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """Time limit in seconds for receiving a request's headers, counted from the start of the connection for its first
    request; then the request is rejected with status 408."""
    max_header_bytes: int = Field(default=64 << 10, ge=256, le=16 * MIB)
    """A request with larger headers, or with more than 200 of them, is rejected with status 431."""
    max_buffered_bytes: int = Field(default=256 * MIB, ge=1)
    """Maximum size of all requests in progress, beyond the first 64 KiB of each, in bytes; otherwise status 503."""
    max_response_bytes: int = Field(default=256 * MIB, ge=1)
    """Maximum size of a response's tensors as raw bytes; a larger response is replaced by status 500."""
    max_shared_memory_regions: int = Field(default=1024, ge=0)
    """Maximum number of registered shared memory regions; fewer if the process may not open that many files. 0 turns
    shared memory off."""
    workers: int = Field(default=0, ge=0, le=1024)
    """Maximum number of concurrently processed requests (threads of a process); 0 means the number of CPUs plus
    four."""
    worker_processes: int = Field(default=1, ge=1, le=MAX_WORKER_PROCESSES)
    """Number of processes that serve the ports together; each loads all models, and has the limits on its own."""
    drain_s: float = Field(default=1.0, ge=0, le=600)
    """Seconds for which a stopping service still accepts requests on open connections: load balancers may need this
    time to notice."""
    model_control: Literal["none", "explicit"] = "none"
    """Whether clients can load and unload models: with `explicit`, only `load_models` are loaded at startup."""
    load_models: tuple[str, ...] = ()
    """The models that are loaded at startup if `model_control` is `explicit`; `*` stands for all."""
    license: LicenseSettings = LicenseSettings()
    models: tuple[ModelSettings, ...] = Field(min_length=1)
    ensembles: tuple[EnsembleSettings, ...] = Field(default=(), max_length=1000)
    """Models that consist of `models` and of each other."""

    @model_validator(mode="after")
    def _names_differ(self) -> ServiceSettings:
        names = Counter([*(model.name for model in self.models), *(ensemble.name for ensemble in self.ensembles)])
        duplicates = sorted(name for name, count in names.items() if count > 1)
        if duplicates:
            raise ValueError(f"models: duplicate names: {', '.join(duplicates)}")
        if problems := list(ensemble_problems(self.ensembles, self.versions())):
            others = f"; and {len(problems) - _MAX_PROBLEMS} others" if len(problems) > _MAX_PROBLEMS else ""
            raise ValueError("; ".join(problems[:_MAX_PROBLEMS]) + others)
        return self

    @model_validator(mode="after")
    def _can_load_models(self) -> ServiceSettings:
        if self.load_models and self.model_control != "explicit":
            raise ValueError("load_models requires model_control: explicit")
        if unknown := sorted(set(self.load_models) - {"*", *self.versions()}):
            listed = ", ".join(repr(name[:128]) for name in unknown[:_MAX_PROBLEMS])
            raise ValueError(f"load_models: unknown models: {listed}")
        return self

    @model_validator(mode="after")
    def _can_have_workers(self) -> ServiceSettings:
        if self.worker_processes > 1:
            if sys.platform != "linux":
                raise ValueError("worker_processes: more than one requires Linux")
            stateful = [model.name for model in self.models if model.sequence_batching is not None]
            if stateful:
                raise ValueError(
                    f"worker_processes must be 1: the requests of a sequence of '{stateful[0]}' could reach different"
                    " processes"
                )
        return self

    def initial_models(self) -> list[str]:
        """The names of the models that are loaded at startup, without those that only ensembles require."""
        names = list(self.versions())
        if self.model_control == "none" or "*" in self.load_models:
            return names
        return [name for name in names if name in self.load_models]

    def versions(self) -> dict[str, str]:
        """The version of each model and ensemble, by name."""
        versions = {model.name: model.version for model in self.models}
        return versions | {ensemble.name: ensemble.version for ensemble in self.ensembles}


def read_settings(file: Path, environment: Mapping[str, str] = os.environ) -> ServiceSettings:
    """The settings in `file`, with the ports, the number of processes and the model control that the environment sets.
    Raises InvalidSettings, also for equal ports."""
    try:
        settings = ServiceSettings.model_validate_json(file.read_bytes())
        processes = _worker_processes(settings.worker_processes, environment)
        if processes != settings.worker_processes:
            settings = ServiceSettings.model_validate({**dict(settings), "worker_processes": processes})
        ports = all_ports(settings.model_dump(include=set(VARIABLES)), environment)
    except OSError as error:
        raise InvalidSettings(f"cannot read {file}: {error.strerror}") from None
    except ValidationError as error:
        raise InvalidSettings(f"{file}: {describe_settings_error(error)}") from None
    except ValueError as error:
        raise InvalidSettings(str(error)) from None
    return _with_control(settings.model_copy(update=ports), environment)


def _with_control(settings: ServiceSettings, environment: Mapping[str, str]) -> ServiceSettings:
    changes: dict[str, Any] = {}
    if control := environment.get(CONTROL_VARIABLE, "").strip():
        changes["model_control"] = control
    if names := [name.strip() for name in environment.get(LOAD_VARIABLE, "").split(",") if name.strip()]:
        changes["load_models"] = names
    try:
        return ServiceSettings.model_validate({**dict(settings), **changes}) if changes else settings
    except ValidationError as error:
        raise InvalidSettings(f"{CONTROL_VARIABLE}, {LOAD_VARIABLE}: {describe_settings_error(error)}") from None


def _worker_processes(default: int, environment: Mapping[str, str]) -> int:
    text = environment.get(WORKERS_VARIABLE, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MAX_WORKER_PROCESSES):
        raise ValueError(f"{WORKERS_VARIABLE} must be a number from 1 to {MAX_WORKER_PROCESSES}, not {text[:40]!r}")
    return int(text)


def describe_settings_error(error: ValidationError) -> str:
    """Every problem that pydantic found, with its key path, on one line."""
    problems = []
    for each in error.errors(include_url=False, include_input=False, include_context=False):
        loc = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in each["loc"]).lstrip(".")
        message = each["msg"].removeprefix("Value error, ")
        problems.append(f"{loc}: {message}" if loc else message)
    return "; ".join(problems)
