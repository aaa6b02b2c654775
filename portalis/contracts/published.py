"""Artifacts in a registry, with repository and digest."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..documented import Record
from ..spec.base import U64, Choice

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class PublishedKind(Choice):
    """The kind of a published artifact."""

    Image = "Image"
    Module = "Module"
    Archive = "Archive"
    Chart = "Chart"
    Extension = "Extension"
    Sbom = "Sbom"
    Provenance = "Provenance"


class PublishedArtifact(Record):
    """An artifact in a registry."""

    kind: PublishedKind
    name: str
    """The file name, or the image's name in the engine."""
    repository: str
    """The repository with the registry's host."""
    tag: str | None = None
    """Null for an artifact that refers to another one: it has only a digest."""
    digest: Digest
    subject: Digest | None = None
    """The digest of the artifact that this one refers to."""
    size_bytes: U64 | None = None
    """The size of the content; null if only the engine knows it."""
    sent: bool
    """False if it was in the registry before."""

    @property
    def reference(self) -> str:
        """``repository@sha256:…``, which always identifies this artifact."""
        return f"{self.repository}@{self.digest}"
