"""Writes a Compose file: one service per workload, on a single host."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from ..contracts.artifacts import ComposeService, DeploymentManifest, DeploymentType
from ..engines.engine_commands import engine_program
from ..free_ports import PORT_MAX
from ..output import OutputTree
from ..output.package_layout import DEPLOYMENT
from ..problems import Problem
from ..spec import PackageSpec
from ..target import Job
from ..yaml_writer import yaml_documents
from .object_names import workload_name
from .workload import MODELS, Workload

_FILE = DEPLOYMENT / "compose.yaml"


def spec_problems(spec: PackageSpec) -> Iterator[Problem]:
    """No problems: Compose accepts every name that the Kubernetes check accepts."""
    yield from ()


def write(job: Job, workloads: Sequence[Workload], tree: OutputTree) -> Iterator[DeploymentManifest]:
    """Write one file for all workloads."""
    host_ports: set[int] = set()
    services = {workload.name: _service(workload, host_ports) for workload in workloads}
    document: dict[str, Any] = {"name": workload_name(job.spec.package_name), "services": services}
    if kept := [_volume(workload, name) for workload in workloads for name in workload.kept]:
        document["volumes"] = {name: {} for name in kept}
    engine = engine_program(job.spec.container_config.runtime)
    command = f"docker compose --file {_FILE.name} up".replace("docker", engine)
    path = tree.text(_FILE, yaml_documents([escape_interpolation(document)], command))
    yield DeploymentManifest(
        manifest_type=DeploymentType.DockerCompose,
        file_path=job.final(path),
        docker_compose_services={
            name: ComposeService(
                image=each["image"],
                ports=tuple(each["ports"]),
                environment=each.get("environment", {}),
                volumes=tuple(_short_volume(volume) for volume in each.get("volumes", ())),
            )
            for name, each in services.items()
        },
    )


def escape_interpolation(value: Any) -> Any:
    """Escape ``$`` as ``$$`` in all values: Compose interpolates ``${NAME}`` and ``$NAME`` in values, not in keys."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: escape_interpolation(each) for key, each in value.items()}
    return [escape_interpolation(each) for each in value] if isinstance(value, list) else value


def _service(workload: Workload, host_ports: set[int]) -> dict[str, Any]:
    service: dict[str, Any] = {"image": workload.image}
    if workload.command:
        service["command"] = list(workload.command)
    # the metrics port is only for the other containers of the project
    ports = {name: port for name, port in workload.ports.items() if name != "metrics"}
    service["ports"] = [f"{_free_port(port, host_ports)}:{port}" for port in ports.values()]
    if workload.environment:
        service["environment"] = dict(sorted(workload.environment.items()))
    volumes = [_bind(each.host_path, each.container_path, each.read_only) for each in workload.volumes]
    for name, path in workload.kept.items():
        # a volume gets the mode of the image's directory, so that every user can write to it
        volumes.append({"type": "volume", "source": _volume(workload, name), "target": path})
    if workload.repository is not None:
        # relative to the Compose file
        volumes.append(_bind(os.path.relpath(workload.repository, _FILE.parent), MODELS, True))
    if volumes:
        service["volumes"] = volumes
    if workload.writable:
        service["tmpfs"] = list(workload.writable)
    if workload.shared_memory is not None:
        service["shm_size"] = workload.shared_memory
    service["read_only"] = workload.security.read_only
    service["security_opt"] = ["no-new-privileges:true"]
    if workload.security.user is not None:
        service["user"] = str(workload.security.user)
    if workload.security.drop:
        service["cap_drop"] = list(workload.security.drop)
    if resources := _resources(workload):
        service["deploy"] = {"resources": resources}
    service["restart"] = "unless-stopped"
    service["stop_grace_period"] = f"{workload.grace_s}s"
    return service


def _free_port(port: int, host_ports: set[int]) -> int:
    """The first port from `port` on that no other service of the file publishes; it is added to `host_ports`."""
    while port in host_ports:
        port = port + 1 if port < PORT_MAX else 1024
    host_ports.add(port)
    return port


def _volume(workload: Workload, name: str) -> str:
    return f"{workload.name}-{name}"


def _bind(source: str, target: str, read_only: bool) -> dict[str, Any]:
    return {"type": "bind", "source": source, "target": target, "read_only": read_only}


def _short_volume(volume: dict[str, Any]) -> str:
    return f"{volume['source']}:{volume['target']}{':ro' if volume.get('read_only') else ''}"


def _resources(workload: Workload) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if workload.cpu_millis is not None:
        limits["cpus"] = f"{workload.cpu_millis / 1000:.3f}"
    if workload.memory is not None:
        limits["memory"] = str(workload.memory)
    resources: dict[str, Any] = {"limits": limits} if limits else {}
    if workload.gpus:
        device = {"driver": "nvidia", "count": workload.gpus, "capabilities": ["gpu"]}
        resources["reservations"] = {"devices": [device]}
    return resources
