"""Renders the Dockerfile of a service image from its container configuration."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..output.package_layout import WASM_RUNTIME
from ..problems import InputProblems
from ..spec.container import CACHE_FOLDER, MODEL_STORE, READY_PATH, STARTUP_S, ContainerConfiguration
from ..templates import render
from .container_checks import MODELS, VENV, container_problems
from .quoting import Quoter, exec_form, expanded_form
from .wasm_runtimes import RUNTIME_PATH, RuntimeFiles

_TEMPLATES = Path(__file__).parent / "templates"
SERVICE = "portalis_service"
"""The name of the service's package in the image."""
_STAGED = "/build/root"  # a directory tree of the build stage, copied to the image's root
_WRITABLE = (CACHE_FOLDER, MODEL_STORE)
_USER = "1001:0"  # group root, so that any user id works: no writable file belongs to that group
_ENTRYPOINT = (f"{VENV}/bin/python", "-m", SERVICE, f"{MODELS}/service.json")

# keys that hadolint accepts: https://docs.docker.com/engine/manage-resources/labels
_PLAIN_LABEL = re.compile(r"(?!(com|io)\.docker\.|org\.dockerproject\.)[a-z][a-z0-9]*([.-][a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """A Dockerfile, and the build arguments that it requires."""

    text: str
    arguments: Mapping[str, str]
    """The values that a Dockerfile cannot contain, by argument name."""


def render_dockerfile(
    config: ContainerConfiguration,
    *,
    labels: Mapping[str, str],
    modules: Sequence[str],
    offline: bool,
    unverified: bool = False,
    runtime: RuntimeFiles | None = None,
) -> Dockerfile:
    """The Dockerfile of an image that serves the modules with these names.

    `labels` are overridden by those of `config`. `offline`: pip installs from the context's wheels only. `unverified`:
    the context has ``unverified.txt``, requirements without hashes. `runtime` is part of the context. Raises
    InputProblems if `config` is invalid.
    """
    if problems := list(container_problems(config)):
        raise InputProblems(problems, source="the container configuration")
    quoter = Quoter()
    values = {
        "base_image": config.base_image,
        "loose_base": re.search(r":(?!latest$)[^/:]+$|@", config.base_image) is None,
        "offline": offline,
        "venv": VENV,
        "pip": exec_form(_pip(offline, hashes=True)),
        "pip_unverified": exec_form(_pip(offline, hashes=False)) if unverified else "",
        **_folders(config),
        **_external_runtime(runtime),
        **_variables(config, modules, quoter),
        "odd_labels": any(_PLAIN_LABEL.fullmatch(key) is None for key in config.labels),
        "labels": quoter.pairs({**labels, **config.labels}),
        "arguments": quoter.arguments,
        "ports": " ".join(str(port) for port in sorted({config.service_port, config.grpc_port, config.metrics_port})),
        "health_options": _health_options(config),
        "health_command": exec_form(_health_command(config)),
        "user": _USER if config.run_as_non_root else "",
        "entrypoint": exec_form(config.entrypoint or _ENTRYPOINT),
        "command": exec_form(config.command_args) if config.command_args else "",
    }
    return Dockerfile(text=render(_TEMPLATES, "Dockerfile.j2", **values), arguments=quoter.arguments)


def _folders(config: ContainerConfiguration) -> dict[str, str]:
    """The directories that the container can write to."""
    return {
        "writable": " ".join(f"{_STAGED}{path}" for path in _WRITABLE),
        "parents": " ".join(sorted({f"{_STAGED}{PurePosixPath(path).parent}".rstrip("/") for path in _WRITABLE})),
        "staged": _STAGED,
        # volumes stay writable under a read-only root file system
        "volumes": expanded_form(dict.fromkeys([*_WRITABLE, *(volume.container_path for volume in config.volumes)])),
    }


def _external_runtime(runtime: RuntimeFiles | None) -> dict[str, str]:
    """A runtime that is a separate executable: Wasmer or WasmEdge."""
    if runtime is None:
        return {"runtime": ""}
    return {
        "runtime": RUNTIME_PATH,
        "runtime_folder": WASM_RUNTIME,
        "runtime_programs": shlex.join(f"{RUNTIME_PATH}/{path}" for path in runtime.executable),
        "runtime_check": shlex.join([*runtime.command, "--version"]),
    }


def _variables(config: ContainerConfiguration, modules: Sequence[str], quoter: Quoter) -> dict[str, str | list[str]]:
    variables = {
        "NIM_CACHE_PATH": CACHE_FOLDER,
        **config.environment_vars,
        # the directory, if there are several modules
        "WASM_MODULE": f"{MODELS}/{modules[0]}.wasm" if len(modules) == 1 else MODELS,
        "SERVICE_PORT": str(config.service_port),
        "GRPC_PORT": str(config.grpc_port),
        "METRICS_PORT": str(config.metrics_port),
    }
    return {
        "environment": quoter.pairs({key: value for key, value in variables.items() if "$" not in value}),
        # hadolint treats every dollar sign as a reference to a variable that the same instruction defines
        "with_dollars": [quoter.pairs({key: value}) for key, value in sorted(variables.items()) if "$" in value],
    }


def _pip(offline: bool, *, hashes: bool) -> list[str]:
    command = ["python3", "-m", "pip", "--python", f"{VENV}/bin/python", "install", "--no-cache-dir", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:"]
    command += ["--require-hashes", "--requirement", "/build/requirements.txt"] if hashes else []
    command += [] if hashes else ["--requirement", "/build/unverified.txt"]
    return [*command, "--no-index", "--find-links", "/build/wheels"] if offline else command


def _health_options(config: ContainerConfiguration) -> str:
    return (
        f"--interval={config.health_check_interval}s --timeout={config.health_check_timeout}s"
        f" --start-period={STARTUP_S}s --retries={config.health_check_retries}"
    )


def _health_command(config: ContainerConfiguration) -> list[str]:
    # the configured endpoint is a liveness check; users expect a "healthy" container to be ready as well
    paths = dict.fromkeys([config.health_check_endpoint, READY_PATH])
    return [f"{VENV}/bin/python", "-m", f"{SERVICE}.probe", *paths]
