"""The Dockerfile of a service image: everything of a container configuration that an image can say."""

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
from .quoting import Quoted, exec_form, expanded_form
from .wasm_runtimes import RUNTIME_PATH, RuntimeFiles

_TEMPLATES = Path(__file__).parent / "templates"
STAGED = "/build/root"
SERVICE_FILE = f"{MODELS}/service.json"
SERVICE = "portalis_service"
_WRITABLE = (CACHE_FOLDER, MODEL_STORE)
USER = "1001:0"  # group root owns nothing that can be written, and lets any user id in
ENTRYPOINT = (f"{VENV}/bin/python", "-m", SERVICE, SERVICE_FILE)

# keys that linters take: https://docs.docker.com/engine/manage-resources/labels
_PLAIN_LABEL = re.compile(r"(?!(com|io)\.docker\.|org\.dockerproject\.)[a-z][a-z0-9]*([.-][a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """`text`, and the build arguments that it needs for values with line breaks."""

    text: str
    arguments: Mapping[str, str]


def render_dockerfile(
    config: ContainerConfiguration,
    *,
    labels: Mapping[str, str],
    modules: Sequence[str],
    offline: bool,
    unverified: bool = False,
    runtime: RuntimeFiles | None = None,
) -> Dockerfile:
    """The Dockerfile for the modules of these names. `labels` are the package's own, before which those of `config`
    go; `offline` installs from the context's wheels only; `unverified` says that the context has a second file of
    requirements, those without hashes; `runtime` is in the context, too. Raises InputProblems."""
    found = list(container_problems(config))
    if found:
        raise InputProblems(found, source="the container configuration")
    quoted = Quoted()
    values = {
        "base_image": config.base_image,
        "loose_base": re.search(r":(?!latest$)[^/:]+$|@", config.base_image) is None,
        "offline": offline,
        "venv": VENV,
        "pip": exec_form(_pip(offline, hashes=True)),
        "pip_unverified": exec_form(_pip(offline, hashes=False)) if unverified else "",
        **_folders(config),
        **_other_runtime(runtime),
        **_variables(config, modules, quoted),
        "odd_labels": any(_PLAIN_LABEL.fullmatch(key) is None for key in config.labels),
        "labels": quoted.pairs({**labels, **config.labels}),
        "arguments": quoted.arguments,
        "ports": " ".join(str(port) for port in sorted({config.service_port, config.grpc_port, config.metrics_port})),
        "health_options": _health_options(config),
        "health_command": exec_form(_health_command(config)),
        "user": USER if config.run_as_non_root else "",
        "entrypoint": exec_form(config.entrypoint or ENTRYPOINT),
        "command": exec_form(config.command_args) if config.command_args else "",
    }
    return Dockerfile(text=render(_TEMPLATES, "Dockerfile.j2", **values), arguments=quoted.arguments)


def _folders(config: ContainerConfiguration) -> dict[str, str]:
    """Those that the container may write to."""
    return {
        "writable": " ".join(f"{STAGED}{path}" for path in _WRITABLE),
        "parents": " ".join(sorted({f"{STAGED}{PurePosixPath(path).parent}".rstrip("/") for path in _WRITABLE})),
        "staged": STAGED,
        # a read-only root does not keep a volume from being written to
        "volumes": expanded_form(dict.fromkeys([*_WRITABLE, *(volume.container_path for volume in config.volumes)])),
    }


def _other_runtime(runtime: RuntimeFiles | None) -> dict[str, str]:
    """One that is a program of its own."""
    if runtime is None:
        return {"runtime": ""}
    return {
        "runtime": RUNTIME_PATH,
        "runtime_folder": WASM_RUNTIME,
        "runtime_programs": shlex.join(f"{RUNTIME_PATH}/{path}" for path in runtime.executable),
        "runtime_try": shlex.join([*runtime.command, "--version"]),
    }


def _variables(config: ContainerConfiguration, modules: Sequence[str], quoted: Quoted) -> dict[str, str | list[str]]:
    found = {
        "NIM_CACHE_PATH": CACHE_FOLDER,
        **config.environment_vars,
        # the folder, where there are several
        "WASM_MODULE": f"{MODELS}/{modules[0]}.wasm" if len(modules) == 1 else MODELS,
        "SERVICE_PORT": str(config.service_port),
        "GRPC_PORT": str(config.grpc_port),
        "METRICS_PORT": str(config.metrics_port),
    }
    return {
        "environment": quoted.pairs({key: value for key, value in found.items() if "$" not in value}),
        # hadolint takes a dollar for a reference, even when it is none, to what the same instruction defines
        "with_dollars": [quoted.pairs({key: value}) for key, value in sorted(found.items()) if "$" in value],
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
    # the endpoint tells that the process lives; an engine's "healthy" is taken for "can be used"
    paths = dict.fromkeys([config.health_check_endpoint, READY_PATH])
    return [f"{VENV}/bin/python", "-m", f"{SERVICE}.probe", *paths]
