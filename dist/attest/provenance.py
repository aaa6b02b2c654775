"""Provenance of a package: a SLSA provenance 1.0 predicate (https://slsa.dev/spec/v1.0/provenance) in an in-toto
statement."""

from __future__ import annotations

import os
import platform
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

from ... import __version__
from ...contracts.artifacts import ContainerArtifact
from ...spec import PackageSpec
from ...spec.base import Structure
from ...target import Job
from ..archive import Member, Members
from .components import ComponentKind, PackageComponent, image_purl
from .statement import Subject, encode_statement

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:portalis:build:package:v1"
BUILDER = "urn:portalis:builder:local"
IMAGE_URI = "pkg:docker/"
_DEPENDENCIES = (
    ComponentKind.Module,
    ComponentKind.Runtime,
    ComponentKind.Backend,
    ComponentKind.Distribution,
    ComponentKind.BaseImage,
)
NOT_RECORDED = "(not recorded)"
# these do not affect the content of the package
_OMITTED_KEYS = frozenset({"output_directory", "signing_key"})
_KEYS_WITH_HIDDEN_VALUES = frozenset({"environment_vars"})
_SECRET_KEY = re.compile(r"pass(word|phrase|wd)|secret|token|credential|api_?key|private", re.IGNORECASE)
_URL_CREDENTIALS = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedArchive:
    """A finished archive: its name, digests (hex by algorithm), the `members` below its directory `top`, and its
    `sidecars`, the files next to it that are attested too."""

    name: str
    digests: Mapping[str, str]
    top: str
    members: Members
    sidecars: tuple[Member, ...] = ()


def create_provenance(job: Job, archive: FinishedArchive, components: Iterable[PackageComponent]) -> bytes:
    """Create the in-toto statement. If SOURCE_DATE_EPOCH is set, the same input gives the same bytes."""
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"spec": recorded_spec(job.spec)},
            "internalParameters": {"created_at": job.created_at},
            "resolvedDependencies": [_descriptor(each) for each in components if each.kind in _DEPENDENCIES],
        },
        "runDetails": {
            "builder": {
                "id": job.spec.distribution_config.builder_id or BUILDER,
                "version": {"portalis": __version__, "python": platform.python_version()},
            },
            "metadata": {
                "invocationId": _invocation_id(job, archive),
                "startedOn": job.created_at,
                "finishedOn": _finished_on(job),
            },
            "byproducts": [
                {"name": str(each.path), "digest": {"sha256": each.sha256}, "annotations": {"kind": each.kind}}
                for each in archive.sidecars
            ],
        },
    }
    return encode_statement(_subjects(job, archive), PREDICATE_TYPE, predicate)


def _subjects(job: Job, archive: FinishedArchive) -> Iterator[Subject]:
    """The archive, its sidecar files, every member, and the images."""
    yield Subject(name=archive.name, digests=archive.digests)
    for each in archive.sidecars:
        yield Subject(name=str(each.path), digests={"sha256": each.sha256})
    for member in archive.members:
        yield Subject(name=f"{archive.top}/{member.path}", digests={"sha256": member.sha256})
    for image in job.artifacts.nim_containers:
        if (subject := _image_subject(image)) is not None:
            yield subject


def _image_subject(image: ContainerArtifact) -> Subject | None:
    algorithm, _, digest = image.image_digest.partition(":")
    if algorithm != "sha256" or not digest:
        return None
    uri = image_purl(image.image_name, image.image_tag)
    return Subject(name=image.reference, digests={algorithm: digest}, uri=str(uri or ""))


def _descriptor(component: PackageComponent) -> dict[str, Any]:
    """The in-toto resource descriptor of a component. If it is one of several files, their digests are annotations:
    `digest` would mean that a single file has all of them."""
    algorithms = [name for name, _ in component.digests]
    descriptor: dict[str, Any] = {"name": component.name}
    if component.purl is not None:
        descriptor["uri"] = str(component.purl)
    if len(set(algorithms)) < len(algorithms):
        descriptor["annotations"] = {"sha256": [digest for _, digest in component.digests]}
    elif component.digests:
        descriptor["digest"] = {name: digest for name, digest in component.digests if name.startswith("sha")}
    return descriptor


def _invocation_id(job: Job, archive: FinishedArchive) -> str:
    """A UUID that depends only on run ID, time and archive."""
    identity = "\0".join((job.spec.run_id, job.created_at, archive.digests["sha256"]))
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, identity)}"


def _finished_on(job: Job) -> str:
    """The current time in seconds; if SOURCE_DATE_EPOCH is set, that time."""
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return job.created_at
    return max(job.created_at, datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"))


def recorded_spec(spec: PackageSpec) -> dict[str, Any]:
    """Convert the spec to JSON for the provenance, without secrets and without paths of this machine.

    Input files and environment variables are recorded by name only. Credentials in URLs are removed, and values whose
    key suggests a secret are replaced by `NOT_RECORDED`.
    """
    recorded = _to_json(spec)
    assert isinstance(recorded, dict)
    return recorded


def _to_json(value: Any) -> Any:
    if isinstance(value, Structure):
        fields = {key: getattr(value, key) for key in type(value).model_fields if key not in _OMITTED_KEYS}
        return {key: _field_to_json(key, each) for key, each in fields.items() if each is not None}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return value.name
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, str):
        return _URL_CREDENTIALS.sub("//", value)
    if isinstance(value, dict):
        return {str(key): _field_to_json(str(key), each) for key, each in sorted(value.items())}
    if isinstance(value, (tuple, list)):
        return [_to_json(each) for each in value]
    return value


def _field_to_json(key: str, value: Any) -> Any:
    if key in _KEYS_WITH_HIDDEN_VALUES and isinstance(value, dict):
        return dict.fromkeys(sorted(value), NOT_RECORDED)
    if _SECRET_KEY.search(key) and isinstance(value, (str, int, Path)) and not isinstance(value, bool):
        return NOT_RECORDED
    return _to_json(value)
