"""OCI image manifests of artifacts. The same artifact always has the same bytes, and so the same digest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .blobs import Blob, blob_of, content_digest

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
TITLE_ANNOTATION = "org.opencontainers.image.title"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestBlob:
    """A blob that a manifest refers to, with its media type and annotations."""

    blob: Blob
    media_type: str
    annotations: Mapping[str, str] = field(default_factory=dict)

    def descriptor(self) -> dict[str, Any]:
        """The blob's descriptor in the manifest."""
        return oci_descriptor(self.media_type, self.blob.digest, self.blob.size, self.annotations)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageManifest:
    """An OCI image manifest. Its blobs must be pushed before it. `subject` is the descriptor of the manifest that it
    refers to, None if it refers to none."""

    layers: Sequence[ManifestBlob]
    config: ManifestBlob
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: Mapping[str, Any] | None = None

    @property
    def blobs(self) -> tuple[ManifestBlob, ...]:
        """The config and the layers."""
        return (self.config, *self.layers)

    def content(self) -> bytes:
        """The manifest as canonical JSON."""
        body: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self.config.descriptor(),
            "layers": [layer.descriptor() for layer in self.layers],
        }
        if self.artifact_type is not None:
            body["artifactType"] = self.artifact_type
        if self.annotations:
            body["annotations"] = dict(self.annotations)
        if self.subject is not None:
            body["subject"] = dict(self.subject)
        return canonical_json(body)

    def descriptor(self) -> dict[str, Any]:
        """The descriptor by which other manifests refer to this one."""
        content = self.content()
        return oci_descriptor(MANIFEST_TYPE, content_digest(content), len(content))


def empty_config() -> ManifestBlob:
    """The config of an artifact without one: ``{}``."""
    return ManifestBlob(blob=blob_of(b"{}"), media_type=EMPTY_TYPE)


def oci_descriptor(
    media_type: str, digest: str, size: int, annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """An OCI content descriptor."""
    descriptor: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": size}
    return {**descriptor, "annotations": dict(annotations)} if annotations else descriptor


def canonical_json(body: Mapping[str, Any]) -> bytes:
    """JSON with sorted keys and without spaces, so that equal documents have equal bytes."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
