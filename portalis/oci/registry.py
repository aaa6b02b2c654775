"""A registry to push artifacts to: only what it does not have is sent, and all of it is looked at again."""

from __future__ import annotations

from dataclasses import dataclass

from .address import Address
from .backoff import Backoff
from .blobs import CHUNK, Blobs, Progress, digest_of
from .credentials import Credentials
from .image_manifest import MANIFEST, Manifest
from .manifest_client import Found, Manifests
from .referrers import add_to_index
from .session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What is in the registry now. `sent` says whether anything had to be sent for it."""

    repository: str
    digest: str
    size: int
    """Bytes of all its blobs."""
    sent: bool


class Registry:
    """A registry. Close it, or use it with ``with``."""

    def __init__(
        self,
        address: Address,
        credentials: Credentials | None = None,
        *,
        backoff: Backoff | None = None,
        chunk: int = CHUNK,
    ) -> None:
        self.address = address
        self.credentials = credentials
        self._session = Session(address, credentials, backoff)
        self._blobs = Blobs(self._session, chunk)
        self._manifests = Manifests(self._session)

    def push(
        self, repository: str, tag: str | None, manifest: Manifest, progress: Progress = lambda *_: None
    ) -> Pushed:
        """Push a manifest and its blobs, under `tag` or by its digest alone; one with a subject is entered with that.

        Raises AccessDenied, Unreachable, Untrustworthy or another RegistryError; OSError for a file that cannot be
        read. What was pushed until then stays in the registry, and is not sent again.
        """
        sent = False
        for part in {part.blob.digest: part for part in manifest.parts}.values():
            sent = self._blobs.push(repository, part.blob, progress) or sent
        content = manifest.content()
        digest = digest_of(content)
        listed = False
        found = self._manifests.get(repository, tag or digest)
        if found is None or found.content != content:
            listed, sent = self._manifests.put(repository, tag or digest, content, MANIFEST), True
        if manifest.subject is not None and not listed and not self._keeps_lists(repository, manifest):
            sent = add_to_index(self._manifests, repository, manifest) or sent
        size = sum(part.blob.size for part in manifest.parts)
        return Pushed(repository=repository, digest=digest, size=size, sent=sent)

    def check_access(self, repository: str) -> None:
        """Raise AccessDenied where we may not push to a repository."""
        self._blobs.check_access(repository)

    def manifest(self, repository: str, reference: str) -> Found | None:
        """The manifest with a tag or digest, None where there is none."""
        return self._manifests.get(repository, reference)

    def clean(self, text: str) -> str:
        """`text` without the secrets of this session."""
        return self._session.redactor.clean(text)

    def _keeps_lists(self, repository: str, manifest: Manifest) -> bool:
        """Whether the registry has a list of its own of what refers to the subject."""
        assert manifest.subject is not None
        url = self._session.url(repository, f"referrers/{manifest.subject['digest']}")
        answer = self._session.ask("GET", url, repository, what="asking for what refers to an artifact")
        return answer.status == 200

    def close(self) -> None:
        """End the connections."""
        self._session.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
