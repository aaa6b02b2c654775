"""What is said of an artifact, and refers to it in the registry: its SBOM and its provenance."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ...contracts.published import PublishedKind
from ...oci.blobs import Blob
from ...oci.manifest import TITLE, Manifest, Part, empty_config
from .package import Package

SBOM_TYPE = "application/vnd.cyclonedx+json"
SIGNED_TYPE = "application/vnd.dsse.envelope.v1+json"
UNSIGNED_TYPE = "application/vnd.in-toto+json"
PREDICATE = "in-toto.io/predicate-type"
_LIMIT = 64 << 20  # bytes of a statement that is looked into


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file about an artifact."""

    kind: PublishedKind
    file: PurePosixPath
    media_type: str
    manifest: Manifest


def attachments(package: Package, blob: Blob, subject: Manifest, *, sbom: bool = True) -> tuple[Attachment, ...]:
    """What lies beside the package's archives about `blob`, the content of the artifact `subject`: the SBOM, which is
    that of the whole package, and each statement that names the blob's digest."""
    found = []
    for archive in package.artifacts.distribution_archives:
        beside = package.relative(archive.archive_path)
        file = beside.with_name(f"{beside.name}.sbom.cdx.json")
        if sbom and (package.folder / file).is_file():
            found.append(_attachment(package, PublishedKind.Sbom, file, SBOM_TYPE, subject, {}))
        for ending, media_type in ((".intoto.jsonl", SIGNED_TYPE), (".provenance.json", UNSIGNED_TYPE)):
            file = beside.with_name(f"{beside.name}{ending}")
            for statement in _statements(package, file):
                if blob.digest in _subjects(statement):
                    about = {PREDICATE: str(statement.get("predicateType", ""))}
                    found.append(_attachment(package, PublishedKind.Provenance, file, media_type, subject, about))
                    break
    return tuple(found)


def _attachment(
    package: Package,
    kind: PublishedKind,
    file: PurePosixPath,
    media_type: str,
    subject: Manifest,
    about: dict[str, str],
) -> Attachment:
    layer = Part(blob=package.blob(file), media_type=media_type, annotations={TITLE: file.name})
    manifest = Manifest(
        config=empty_config(),
        layers=[layer],
        artifact_type=media_type,
        annotations=package.annotations(file.name) | about,
        subject=subject.descriptor(),
    )
    return Attachment(kind=kind, file=file, media_type=media_type, manifest=manifest)


def _statements(package: Package, file: PurePosixPath) -> Iterator[dict[str, Any]]:
    """The in-toto statements of a file: one, or an envelope with one in each line."""
    place = package.folder / file
    if not place.is_file() or place.stat().st_size > _LIMIT:
        return
    content = place.read_bytes()
    for text in content.splitlines() if file.suffix == ".jsonl" else [content]:
        try:
            found = json.loads(text)
            if "payload" in found:
                found = json.loads(base64.b64decode(found["payload"]))
        except (ValueError, TypeError, binascii.Error):
            continue
        if isinstance(found, dict):
            yield found


def _subjects(statement: dict[str, Any]) -> set[str]:
    subjects = statement.get("subject")
    found = set()
    for each in subjects if isinstance(subjects, list) else []:
        digests = each.get("digest") if isinstance(each, dict) else None
        if isinstance(digests, dict) and "sha256" in digests:
            found.add(f"sha256:{digests['sha256']}")
    return found
