"""How a package came to be: SLSA provenance 1.0 (https://slsa.dev/spec/v1.0/provenance)."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ... import __version__
from ...contracts.artifacts import ContainerArtifact
from ...target import Job
from ..archive.members import Member, Members
from .ingredient import Ingredient, Kind, image_purl
from .parameters import parameters
from .statement import Subject, statement

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:portalis:build:package:v1"
BUILDER = "urn:portalis:builder:local"
IMAGE_URI = "pkg:docker/"
_INPUTS = (Kind.Module, Kind.Runtime, Kind.Backend, Kind.Distribution, Kind.BaseImage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finished archive: its name, digests (hex by algorithm), the `members` below its folder `top`, and the files
    beside it that belong to it."""

    name: str
    digests: Mapping[str, str]
    top: str
    members: Members
    beside: tuple[Member, ...] = ()


def provenance(job: Job, result: Result, used: Iterable[Ingredient]) -> bytes:
    """The in-toto statement. With SOURCE_DATE_EPOCH the same input gives the same bytes."""
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"spec": parameters(job.spec)},
            "internalParameters": {"created_at": job.created_at},
            "resolvedDependencies": [_dependency(each) for each in used if each.kind in _INPUTS],
        },
        "runDetails": {
            "builder": {
                "id": job.spec.distribution_config.builder_id or BUILDER,
                "version": {"portalis": __version__, "python": platform.python_version()},
            },
            "metadata": {
                "invocationId": _invocation(job, result),
                "startedOn": job.created_at,
                "finishedOn": _finished(job),
            },
            "byproducts": [
                {"name": str(each.path), "digest": {"sha256": each.sha256}, "annotations": {"kind": each.kind}}
                for each in result.beside
            ],
        },
    }
    return statement(_subjects(job, result), PREDICATE_TYPE, predicate)


def _subjects(job: Job, result: Result) -> Iterator[Subject]:
    """The archive, what belongs to it, every file in it, and the images."""
    yield Subject(name=result.name, digests=result.digests)
    for each in result.beside:
        yield Subject(name=str(each.path), digests={"sha256": each.sha256})
    for member in result.members:
        yield Subject(name=f"{result.top}/{member.path}", digests={"sha256": member.sha256})
    for image in job.artifacts.nim_containers:
        if (subject := _image(image)) is not None:
            yield subject


def _image(image: ContainerArtifact) -> Subject | None:
    algorithm, _, digest = image.image_digest.partition(":")
    if algorithm != "sha256" or not digest:
        return None
    uri = image_purl(image.image_name, image.image_tag)
    return Subject(name=image.reference, digests={algorithm: digest}, uri=uri)


def _dependency(each: Ingredient) -> dict[str, Any]:
    """A resource descriptor. Of a distribution with several files any may have been installed: their digests are notes,
    as `digest` would say that one file has them all."""
    algorithms = [name for name, _ in each.digests]
    several = len(set(algorithms)) < len(algorithms)
    told: dict[str, Any] = {"name": each.name}
    if each.purl:
        told["uri"] = each.purl
    if several:
        told["annotations"] = {"sha256": [digest for _, digest in each.digests]}
    elif each.digests:
        told["digest"] = {name: digest for name, digest in each.digests if name.startswith("sha")}
    return told


def _invocation(job: Job, result: Result) -> str:
    """The same for the same run over the same input, at the same time."""
    said = "\0".join((job.spec.run_id, job.created_at, result.digests["sha256"]))
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, said)}"


def _finished(job: Job) -> str:
    """This second; with SOURCE_DATE_EPOCH the time that it gives."""
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return job.created_at
    return max(job.created_at, datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"))
