"""Attestations in a registry: manifests with the SBOM or the provenance that refer to an artifact as their subject."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ..bounded import ATTESTATION_BOUNDS, Excess, parse_json
from ..contracts.published import PublishedKind
from ..oci.blobs import Blob
from ..oci.image_manifest import TITLE_ANNOTATION, ImageManifest, ManifestBlob, empty_config
from ..output.package_layout import SBOM_ENDING, SIGNED_ENDING, UNSIGNED_ENDING
from .published_package import Package

_SBOM_TYPE = "application/vnd.cyclonedx+json"
_SIGNED_TYPE = "application/vnd.dsse.envelope.v1+json"
_UNSIGNED_TYPE = "application/vnd.in-toto+json"
_PREDICATE_ANNOTATION = "in-toto.io/predicate-type"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that is attached to an artifact, and its manifest."""

    kind: PublishedKind
    file: PurePosixPath
    media_type: str
    manifest: ImageManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationFile:
    """An SBOM or provenance file next to an archive. `subjects` maps the digest of each subject of a statement to the
    statement's predicate type; it is None for an SBOM, which describes the whole package."""

    kind: PublishedKind
    file: PurePosixPath
    media_type: str
    subjects: Mapping[str, str] | None = None


def attestation_files(package: Package) -> tuple[AttestationFile, ...]:
    """The SBOM and provenance files next to the package's archives."""
    files = []
    for archive in package.artifacts.distribution_archives:
        path = package.relative_path(archive.archive_path)
        file = path.with_name(f"{path.name}.{SBOM_ENDING}")
        if (package.folder / file).is_file():
            files.append(AttestationFile(kind=PublishedKind.Sbom, file=file, media_type=_SBOM_TYPE))
        for ending, media_type in ((SIGNED_ENDING, _SIGNED_TYPE), (UNSIGNED_ENDING, _UNSIGNED_TYPE)):
            file = path.with_name(f"{path.name}.{ending}")
            subjects: dict[str, str] = {}
            for statement in _statements(package, file):
                predicate_type = str(statement.get("predicateType", ""))
                subjects = dict.fromkeys(_subjects(statement), predicate_type) | subjects  # the first statement counts
            files.append(
                AttestationFile(kind=PublishedKind.Provenance, file=file, media_type=media_type, subjects=subjects)
            )
    return tuple(files)


def create_attachments(
    package: Package, files: Iterable[AttestationFile], blob: Blob, subject: ImageManifest, *, sbom: bool = True
) -> tuple[Attachment, ...]:
    """The attachments of the artifact `subject`, whose content is `blob`: the SBOM if `sbom`, and the provenance files
    that have the blob's digest among their subjects."""
    attached = []
    for each in files:
        if each.subjects is None and sbom:
            attached.append(_attachment(package, each, subject, {}))
        elif each.subjects is not None and blob.digest in each.subjects:
            annotations = {_PREDICATE_ANNOTATION: each.subjects[blob.digest]}
            attached.append(_attachment(package, each, subject, annotations))
    return tuple(attached)


def _attachment(
    package: Package, attestation: AttestationFile, subject: ImageManifest, annotations: dict[str, str]
) -> Attachment:
    name, media_type = attestation.file.name, attestation.media_type
    blob = package.blob(attestation.file)
    manifest = ImageManifest(
        config=empty_config(),
        layers=[ManifestBlob(blob=blob, media_type=media_type, annotations={TITLE_ANNOTATION: name})],
        artifact_type=media_type,
        annotations=package.annotations(name) | annotations,
        subject=subject.descriptor(),
    )
    return Attachment(kind=attestation.kind, file=attestation.file, media_type=media_type, manifest=manifest)


def _statements(package: Package, file: PurePosixPath) -> Iterator[dict[str, Any]]:
    """The in-toto statements of a provenance file: a single statement, or one DSSE envelope per line. Invalid ones are
    skipped."""
    path = package.folder / file
    if not path.is_file():
        return
    try:
        content = ATTESTATION_BOUNDS.read(path)
    except Excess:
        return
    for text in content.splitlines() if file.suffix == ".jsonl" else [content]:
        try:
            document = parse_json(text, ATTESTATION_BOUNDS)
            if "payload" in document:
                document = parse_json(base64.b64decode(document["payload"]), ATTESTATION_BOUNDS)
        except (ValueError, TypeError, binascii.Error):
            continue
        if isinstance(document, dict):
            yield document


def _subjects(statement: dict[str, Any]) -> set[str]:
    """The digests of the statement's subjects."""
    subjects = statement.get("subject")
    digests = set()
    for subject in subjects if isinstance(subjects, list) else []:
        digest = subject.get("digest") if isinstance(subject, dict) else None
        if isinstance(digest, dict) and "sha256" in digest:
            digests.add(f"sha256:{digest['sha256']}")
    return digests
