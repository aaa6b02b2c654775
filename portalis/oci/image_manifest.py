"""OCI image manifests of artifacts, as bytes: the same artifact gives the same bytes, and so the same digest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .blobs import Blob, blob_of, digest_of

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A blob of a manifest, with what the manifest says of it."""

    blob: Blob
    media_type: str
    annotations: Mapping[str, str] = field(default_factory=dict)

    def descriptor(self) -> dict[str, Any]:
        """What stands in a manifest."""
        return describe(self.media_type, self.blob.digest, self.blob.size, self.annotations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest: its parts, all to be pushed before it, and what it is about (`subject`), if anything."""

    layers: Sequence[Part]
    config: Part
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: Mapping[str, Any] | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """All that it refers to by digest."""
        return (self.config, *self.layers)

    def content(self) -> bytes:
        """Its bytes, with sorted keys."""
        body: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.config.descriptor(),
            "layers": [layer.descriptor() for layer in self.layers],
        }
        if self.artifact_type is not None:
            body["artifactType"] = self.artifact_type
        if self.annotations:
            body["annotations"] = dict(self.annotations)
        if self.subject is not None:
            body["subject"] = dict(self.subject)
        return encode(body)

    def descriptor(self) -> dict[str, Any]:
        """How others refer to it."""
        content = self.content()
        return describe(MANIFEST, digest_of(content), len(content))


def empty_config() -> Part:
    """The config of an artifact that has none: ``{}``."""
    return Part(blob=blob_of(b"{}"), media_type=EMPTY)


def describe(media_type: str, digest: str, size: int, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    """An OCI descriptor."""
    found: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": size}
    return {**found, "annotations": dict(annotations)} if annotations else found


def encode(body: Mapping[str, Any]) -> bytes:
    """JSON, always the same for the same content."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
