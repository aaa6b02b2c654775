"""What a run has published: where, and under which digest."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..documented import Record
from ..spec.base import U64, Choice

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class PublishedKind(Choice):
    """What kind of thing lies in the registry."""

    Image = "Image"
    Module = "Module"
    Archive = "Archive"
    Chart = "Chart"
    Extension = "Extension"
    Sbom = "Sbom"
    Provenance = "Provenance"


class PublishedArtifact(Record):
    """Something in a registry."""

    kind: PublishedKind
    name: str
    """The file, or the image as the engine calls it."""
    repository: str
    """With the registry's host."""
    tag: str | None = None
    """Null for what refers to another artifact, which has a digest alone."""
    digest: Digest
    subject: Digest | None = None
    """The artifact that it is about."""
    size_bytes: U64 | None = None
    """Of its content; null where only the engine knows."""
    sent: bool
    """False where the registry had it already."""

    @property
    def reference(self) -> str:
        """``repository@sha256:…``, which always means this."""
        return f"{self.repository}@{self.digest}"
