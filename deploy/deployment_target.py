"""The packaging target: files that deploy what a run made, one module for each kind of them."""

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
from .object_names import trouble
from .workload import Workload, names, triton_build, workloads


class Kind(Protocol):
    """What the module of a kind has."""

    def spec_problems(self, spec: PackageSpec) -> Iterable[Problem]:
        """What in the spec it cannot work with."""

    def make(self, job: Job, found: Sequence[Workload], tree: OutputTree) -> Iterable[DeploymentManifest]:
        """Put its files into `tree`."""


KINDS: Final[Mapping[DeploymentType, Kind]] = {
    DeploymentType.Kubernetes: kubernetes,
    DeploymentType.DockerCompose: compose,
}


def skip_reason(spec: PackageSpec) -> str | None:
    """Why there are no manifests."""
    if spec.enable_nim_packaging or spec.enable_triton_integration:
        return None
    return "enable_nim_packaging and enable_triton_integration are false, and there is nothing to deploy"


def spec_problems(spec: PackageSpec) -> Iterator[Problem]:
    """Names that no object can have, and what the kinds cannot work with."""
    found = list(names(spec))
    for where, name in found:
        if (why := trouble(name)) is not None:
            yield Problem(
                where=where,
                message=f"the Kubernetes objects would be called {name!r}, which {why}",
                remediation="Give the module (or package_name, or container_config.image_name) another name.",
            )
    for name, count in Counter(name for _, name in found).items():
        if count > 1:
            yield Problem(
                where=next(where for where, each in reversed(found) if each == name),
                message=f"{count} of the Kubernetes objects would be called {name!r}",
                remediation="Dots, dashes and underscores are the same there: name the modules more differently.",
            )
    for kind in KINDS.values():
        yield from kind.spec_problems(spec)


def generate(job: Job) -> TargetResult:
    """The files of every kind; none where nothing was made that can be deployed."""
    found = tuple(workloads(job))
    if not found:
        return TargetResult(skipped="no service image and no Triton model was made, so there is nothing to deploy")
    tree = OutputTree()
    manifests = [manifest for kind in KINDS.values() for manifest in kind.make(job, found, tree)]
    return TargetResult(
        tree=tree, artifacts=Artifacts(deployment_manifests=tuple(manifests)), warnings=tuple(_warnings(job, found))
    )


def run(job: Job, made: TargetResult) -> TargetResult:
    """Nothing more is to be done."""
    return made


def _warnings(job: Job, found: Iterable[Workload]) -> Iterator[PackagingWarning]:
    build = triton_build(job.spec.container_config.runtime)
    for workload in found:
        if workload.repository is not None:
            yield PackagingWarning(
                message=f"the deployment of {workload.name} uses the image {TRITON_IMAGE}, which you have to build,"
                " and on Kubernetes a volume that you have to copy the model repository to",
                severity=WarningSeverity.Low,
                remediation=f"Build it: `{build}` (--build-arg TRITON_IMAGE=… for another release); then copy"
                f" what is in {job.final(workload.repository)} to the claim {workload.name}-models.",
            )
