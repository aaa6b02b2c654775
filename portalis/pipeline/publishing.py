"""The last target: publishing. This version has no publisher, and says so instead of passing over the wish."""

from __future__ import annotations

from collections.abc import Iterable

from ..contracts.errors import ErrorType, PublishingError
from ..problems import Problem
from ..spec import PackageSpec
from ..target import Job, Made, StageError


def left_out(spec: PackageSpec) -> str | None:
    """Why nothing is published."""
    return None if spec.publish_to_registry else "publish_to_registry is false"


def problems(spec: PackageSpec) -> Iterable[Problem]:
    """Nothing: the spec's own rules ask for the registry's URL."""
    return ()


def generate(job: Job) -> Made:
    """Raises StageError with the commands that publish what was made."""
    registry = job.spec.registry_url or ""
    images = [f"{image.image_name}:{image.image_tag}" for image in job.made.nim_containers]
    steps = [f"docker tag {image} {registry}/{image} && docker push {registry}/{image}" for image in images]
    steps += [
        f"oras push {registry}/{job.spec.package_name}:{job.spec.package_version} {archive.archive_path}"
        for archive in job.made.distribution_archives
    ]
    raise StageError(
        ErrorType.PublishingError,
        f"nothing was published to {registry}: this version of portalis packages, and does not publish",
        remediation="Push what was made by hand, and set publish_to_registry to false.",
        steps=steps,
        details=PublishingError(registry_url=registry),
    )


def act(job: Job, made: Made) -> Made:
    """Nothing: `generate` has said all."""
    return made
