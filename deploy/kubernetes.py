"""Writes Kubernetes objects: a Deployment and a Service per workload, and a volume claim for Triton's models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from ..contracts.artifacts import DeploymentManifest, DeploymentType, K8sResource
from ..output import OutputTree
from ..output.package_layout import DEPLOYMENT
from ..problems import Problem
from ..spec import PackageSpec
from ..spec.base import I32_MAX
from ..target import Job
from ..yaml_writer import yaml_documents
from .object_names import label_value, workload_name
from .workload import MODELS, Probes, Workload

_FOLDER = DEPLOYMENT / "kubernetes"
_GIB = 1 << 30

Object = dict[str, Any]


def spec_problems(spec: PackageSpec) -> Iterator[Problem]:
    """Host volumes without an absolute path."""
    if not spec.enable_nim_packaging:
        return
    for i, volume in enumerate(spec.container_config.volumes):
        parts = PurePosixPath(volume.host_path)
        if not parts.is_absolute() or ".." in parts.parts:
            yield Problem(
                where=f"container_config.volumes[{i}].host_path",
                message=f"expected an absolute path without '..', as Kubernetes requires, got {volume.host_path!r}",
                remediation="Set the absolute path of the directory.",
            )


def write(job: Job, workloads: Sequence[Workload], tree: OutputTree) -> Iterator[DeploymentManifest]:
    """Write one file of objects per workload."""
    for workload in workloads:
        objects = list(_objects(job.spec, workload))
        heading = f"kubectl apply --filename {_FOLDER.name}/{workload.name}.yaml"
        path = tree.text(_FOLDER / f"{workload.name}.yaml", yaml_documents(objects, heading))
        yield DeploymentManifest(
            manifest_type=DeploymentType.Kubernetes,
            file_path=job.final(path),
            kubernetes_resources=tuple(
                K8sResource(
                    api_version=each["apiVersion"], kind=each["kind"], metadata=each["metadata"], spec=each["spec"]
                )
                for each in objects
            ),
        )


def _objects(spec: PackageSpec, workload: Workload) -> Iterator[Object]:
    metadata = _metadata(spec, workload.name)
    selector = {"app.kubernetes.io/name": workload.name}
    if workload.repository is not None:
        size = max(1, -(-workload.repository_bytes * 2 // _GIB))  # enough for a second version
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": f"{size}Gi"}}}
        yield {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {**metadata, "name": _claim(workload)},
            "spec": claim,
        }
    template = {"metadata": {"labels": metadata["labels"], **_scraping(workload)}, "spec": _pod(workload)}
    yield {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"replicas": 1, "selector": {"matchLabels": selector}, "template": template},
    }
    ports = [{"name": name, "port": port, "targetPort": name} for name, port in workload.ports.items()]
    yield {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": selector, "ports": ports}}


def _metadata(spec: PackageSpec, name: str) -> Object:
    labels = {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/version": label_value(spec.package_version),
        "app.kubernetes.io/part-of": label_value(workload_name(spec.package_name)),
        "app.kubernetes.io/managed-by": "portalis",
    }
    metadata: Object = {"name": name, "labels": {key: value for key, value in labels.items() if value is not None}}
    if spec.description:
        metadata["annotations"] = {"kubernetes.io/description": spec.description}
    return metadata


def _scraping(workload: Workload) -> Object:
    """Annotations from which Prometheus discovers the pod's metrics."""
    if not workload.scraped:
        return {}
    settings = {"scrape": "true", "port": str(workload.ports["metrics"]), "path": "/metrics"}
    return {"annotations": {f"prometheus.io/{key}": value for key, value in settings.items()}}


def _claim(workload: Workload) -> str:
    return f"{workload.name}-models"  # the name of a claim may be longer than that of a Service


def _pod(workload: Workload) -> Object:
    security: Object = {"seccompProfile": {"type": "RuntimeDefault"}}
    if workload.security.non_root:
        security["runAsNonRoot"] = True
    if workload.security.user is not None:
        security |= {"runAsUser": workload.security.user, "fsGroup": workload.security.user}
    volumes, mounts = _volumes(workload)
    container = _container(workload)
    pod: Object = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": workload.grace_s,
        "securityContext": security,
        "containers": [container],
    }
    if volumes:
        container["volumeMounts"], pod["volumes"] = mounts, volumes
    return pod


def _container(workload: Workload) -> Object:
    capabilities = [each.upper().removeprefix("CAP_") for each in workload.security.drop]
    container: Object = {"name": "server", "image": workload.image}
    if workload.command:
        container["args"] = [escape_expansion(argument) for argument in workload.command]
    container["ports"] = [{"name": name, "containerPort": port} for name, port in workload.ports.items()]
    if workload.environment:
        container["env"] = [
            {"name": key, "value": escape_expansion(value)} for key, value in sorted(workload.environment.items())
        ]
    container |= _probes(workload.probes)
    if limits := _limits(workload):
        container["resources"] = {"limits": limits}
    security: Object = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": workload.security.read_only}
    if capabilities:
        security["capabilities"] = {"drop": capabilities}
    return {**container, "securityContext": security}


def escape_expansion(text: str) -> str:
    """Escape ``$`` as ``$$``: Kubernetes expands ``$(NAME)`` in arguments and environment variables."""
    return text.replace("$", "$$")


def _limits(workload: Workload) -> dict[str, str]:
    limits = {}
    if workload.memory is not None:
        limits["memory"] = str(workload.memory)
    if workload.cpu_millis is not None:
        limits["cpu"] = f"{workload.cpu_millis}m"
    if workload.gpus:
        limits["nvidia.com/gpu"] = str(workload.gpus)
    return limits


def _probes(probes: Probes) -> Object:
    interval = min(probes.interval_s, I32_MAX)
    timing = {
        "periodSeconds": interval,
        "timeoutSeconds": min(probes.timeout_s, I32_MAX),
        "failureThreshold": min(probes.retries, I32_MAX),
    }
    live, ready = ({"httpGet": {"path": path, "port": "http"}} for path in (probes.live, probes.ready))
    startup_interval_s = 2  # short, so that traffic begins soon after the start
    return {
        "startupProbe": {
            **live,
            "periodSeconds": startup_interval_s,
            "failureThreshold": probes.startup_s // startup_interval_s,
        },
        "livenessProbe": {**live, **timing},
        "readinessProbe": {**ready, **timing},
    }


def _volumes(workload: Workload) -> tuple[list[Object], list[Object]]:
    """The volumes of the pod, and the container's mounts of them."""
    sources: list[tuple[str, Object, str, bool]] = []
    for i, path in enumerate(workload.writable):
        sources.append((f"writable-{i}", {"emptyDir": {}}, path, False))
    for name, path in workload.kept.items():
        sources.append((name, {"emptyDir": {}}, path, False))
    if workload.shared_memory is not None:
        memory = {"medium": "Memory", "sizeLimit": str(workload.shared_memory)}
        sources.append(("shared-memory", {"emptyDir": memory}, "/dev/shm", False))  # noqa: S108 (in the container)
    for i, volume in enumerate(workload.volumes):
        sources.append((f"host-{i}", {"hostPath": {"path": volume.host_path}}, volume.container_path, volume.read_only))
    if workload.repository is not None:
        sources.append(("models", {"persistentVolumeClaim": {"claimName": _claim(workload)}}, MODELS, False))
    volumes = [{"name": name, **source} for name, source, _, _ in sources]
    mounts = [
        {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}
        for name, _, path, read_only in sources
    ]
    return volumes, mounts
