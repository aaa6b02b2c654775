"""The packaging target for deployment manifests; each type of manifest has its own module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from ..contracts.artifacts import DeploymentManifest, DeploymentType
from ..contracts.output import Artifacts, PackagingWarning, WarningSeverity
from ..images import TRITON_IMAGE
from ..output import OutputTree
from ..problems import Problem
from ..spec import PackageSpec
from ..target import Job, TargetResult
from . import compose, kubernetes
from .object_names import object_name_problem
from .workload import Workload, triton_image_command, workload_names, workloads


class DeploymentWriter(Protocol):
    """The functions of a module that writes one type of manifest."""

    def spec_problems(self, spec: PackageSpec) -> Iterable[Problem]:
        """Values in the spec that the manifests cannot contain."""

    def write(self, job: Job, workloads: Sequence[Workload], tree: OutputTree) -> Iterable[DeploymentManifest]:
        """Add the manifests of `workloads` to `tree`."""


WRITERS: Final[Mapping[DeploymentType, DeploymentWriter]] = {
    DeploymentType.Kubernetes: kubernetes,
    DeploymentType.DockerCompose: compose,
}


def skip_reason(spec: PackageSpec) -> str | None:
    """The reason for writing no manifests; None if the spec enables something to deploy."""
    if spec.enable_nim_packaging or spec.enable_triton_integration:
        return None
    return "enable_nim_packaging and enable_triton_integration are false: nothing to deploy"


def spec_problems(spec: PackageSpec) -> Iterator[Problem]:
    """Names and values that the manifests cannot contain."""
    names = list(workload_names(spec))
    for where, name in names:
        if (reason := object_name_problem(name)) is not None:
            yield Problem(
                where=where,
                message=f"the name of the Kubernetes objects, {name!r}, {reason}",
                remediation="Give the module (or package_name, or container_config.image_name) another name.",
            )
    for name, count in Counter(name for _, name in names).items():
        if count > 1:
            yield Problem(
                where=next(where for where, each in reversed(names) if each == name),
                message=f"{count} of the Kubernetes objects would have the name {name!r}",
                remediation="Give the modules names that differ in more than dots, dashes and underscores.",
            )
    for writer in WRITERS.values():
        yield from writer.spec_problems(spec)


def generate(job: Job) -> TargetResult:
    """The manifests of every type; skipped if nothing was built that can be deployed."""
    deployed = tuple(workloads(job))
    if not deployed:
        return TargetResult(skipped="no service image and no Triton model was built: nothing to deploy")
    tree = OutputTree()
    manifests = [manifest for writer in WRITERS.values() for manifest in writer.write(job, deployed, tree)]
    return TargetResult(
        tree=tree, artifacts=Artifacts(deployment_manifests=tuple(manifests)), warnings=tuple(_warnings(job, deployed))
    )


def run(job: Job, made: TargetResult) -> TargetResult:
    """Return `made`: no external tool is needed."""
    return made


def _warnings(job: Job, deployed: Iterable[Workload]) -> Iterator[PackagingWarning]:
    command = triton_image_command(job.spec.container_config.runtime)
    for workload in deployed:
        if workload.repository is not None:
            yield PackagingWarning(
                message=f"the deployment of {workload.name} uses the image {TRITON_IMAGE}, which has to be built,"
                " and on Kubernetes a volume, to which the model repository has to be copied",
                severity=WarningSeverity.Low,
                remediation=f"Build it: `{command}` (--build-arg TRITON_IMAGE=… for a different release); then copy"
                f" the contents of {job.final(workload.repository)} to the claim {workload.name}-models.",
            )
