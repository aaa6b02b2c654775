"""What is said of an artifact, and refers to it in the registry: its SBOM and its provenance."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ..bounded import Bounds, Excess, parse_json
from ..contracts.published import PublishedKind
from ..oci.blobs import Blob
from ..oci.image_manifest import TITLE, Manifest, Part, empty_config
from ..output.package_layout import SBOM_ENDING, SIGNED_ENDING, UNSIGNED_ENDING
from .published_package import Package

SBOM_TYPE = "application/vnd.cyclonedx+json"
SIGNED_TYPE = "application/vnd.dsse.envelope.v1+json"
UNSIGNED_TYPE = "application/vnd.in-toto+json"
PREDICATE = "in-toto.io/predicate-type"
_BOUNDS = Bounds(max_bytes=64 << 20, max_values=2_000_000)  # of a statement that is looked into


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file about an artifact."""

    kind: PublishedKind
    file: PurePosixPath
    media_type: str
    manifest: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A file that lies beside an archive. `about` are the digests that it names, each with the type of what is said;
    None where it is about the whole package."""

    kind: PublishedKind
    file: PurePosixPath
    media_type: str
    about: Mapping[str, str] | None = None


def papers(package: Package) -> tuple[Paper, ...]:
    """The SBOM and the statements beside the package's archives, each read once."""
    found = []
    for archive in package.artifacts.distribution_archives:
        path = package.relative(archive.archive_path)
        file = path.with_name(f"{path.name}.{SBOM_ENDING}")
        if (package.folder / file).is_file():
            found.append(Paper(kind=PublishedKind.Sbom, file=file, media_type=SBOM_TYPE))
        for ending, media_type in ((SIGNED_ENDING, SIGNED_TYPE), (UNSIGNED_ENDING, UNSIGNED_TYPE)):
            file = path.with_name(f"{path.name}.{ending}")
            about: dict[str, str] = {}
            for statement in _statements(package, file):
                said = str(statement.get("predicateType", ""))
                about = dict.fromkeys(_subjects(statement), said) | about  # the first that names it
            found.append(Paper(kind=PublishedKind.Provenance, file=file, media_type=media_type, about=about))
    return tuple(found)


def attachments(
    package: Package, known: Iterable[Paper], blob: Blob, subject: Manifest, *, sbom: bool = True
) -> tuple[Attachment, ...]:
    """Those of the `known` papers that are about `blob`, the content of the artifact `subject`, and the SBOM."""
    found = []
    for paper in known:
        if paper.about is None and sbom:
            found.append(_attachment(package, paper, subject, {}))
        elif paper.about is not None and blob.digest in paper.about:
            found.append(_attachment(package, paper, subject, {PREDICATE: paper.about[blob.digest]}))
    return tuple(found)


def _attachment(package: Package, paper: Paper, subject: Manifest, said: dict[str, str]) -> Attachment:
    name = paper.file.name
    layer = Part(blob=package.blob(paper.file), media_type=paper.media_type, annotations={TITLE: name})
    manifest = Manifest(
        config=empty_config(),
        layers=[layer],
        artifact_type=paper.media_type,
        annotations=package.annotations(name) | said,
        subject=subject.descriptor(),
    )
    return Attachment(kind=paper.kind, file=paper.file, media_type=paper.media_type, manifest=manifest)


def _statements(package: Package, file: PurePosixPath) -> Iterator[dict[str, Any]]:
    """The in-toto statements of a file: one, or an envelope with one in each line."""
    place = package.folder / file
    if not place.is_file():
        return
    try:
        content = _BOUNDS.read(place)
    except Excess:
        return
    for text in content.splitlines() if file.suffix == ".jsonl" else [content]:
        try:
            found = parse_json(text, _BOUNDS)
            if "payload" in found:
                found = parse_json(base64.b64decode(found["payload"]), _BOUNDS)
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
