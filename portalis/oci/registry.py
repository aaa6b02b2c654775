"""A registry to which artifacts are pushed. Only missing content is sent, and manifests are read back."""

from __future__ import annotations

from dataclasses import dataclass

from .address import Address
from .backoff import Backoff
from .blobs import CHUNK_BYTES, BlobClient, Progress, content_digest
from .credentials import Credentials
from .image_manifest import MANIFEST_TYPE, ImageManifest
from .manifest_client import ManifestClient, RemoteManifest
from .session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A manifest that is now in the registry. `sent` is False if the registry already had all of its content."""

    repository: str
    digest: str
    size: int
    """Size of all its blobs, in bytes."""
    sent: bool


class Registry:
    """A registry. Close it, or use it with ``with``."""

    def __init__(
        self,
        address: Address,
        credentials: Credentials | None = None,
        *,
        backoff: Backoff | None = None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.address = address
        self.credentials = credentials
        self._session = Session(address, credentials, backoff)
        self._blobs = BlobClient(self._session, chunk_bytes)
        self._manifests = ManifestClient(self._session)

    def push(
        self, repository: str, tag: str | None, manifest: ImageManifest, progress: Progress = lambda *_: None
    ) -> Pushed:
        """Push a manifest and its blobs, under `tag` or by digest only. A manifest with a subject is listed as its
        referrer.

        Raises AccessDenied, Unreachable, Untrustworthy or another RegistryError, and OSError for a file that cannot be
        read. Content that was pushed before the error stays in the registry, and is not sent again.
        """
        sent = False
        for each in {each.blob.digest: each for each in manifest.blobs}.values():
            sent = self._blobs.push(repository, each.blob, progress) or sent
        content = manifest.content()
        digest = content_digest(content)
        listed = False
        stored = self._manifests.get(repository, tag or digest)
        if stored is None or stored.content != content:
            listed, sent = self._manifests.put(repository, tag or digest, content, MANIFEST_TYPE), True
        if manifest.subject is not None and not listed:
            subject = manifest.subject["digest"]
            if not self._manifests.lists_referrers(repository, subject):
                sent = self._manifests.add_to_index(repository, manifest) or sent
        size = sum(each.blob.size for each in manifest.blobs)
        return Pushed(repository=repository, digest=digest, size=size, sent=sent)

    def check_access(self, repository: str) -> None:
        """Raise AccessDenied if pushing to a repository is not permitted."""
        self._blobs.check_access(repository)

    def manifest(self, repository: str, reference: str) -> RemoteManifest | None:
        """The manifest with a tag or digest, None if it does not exist."""
        return self._manifests.get(repository, reference)

    def redact(self, text: str) -> str:
        """`text` without the secrets of this session."""
        return self._session.redactor.redact(text)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
