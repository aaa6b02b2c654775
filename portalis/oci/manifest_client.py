"""The manifests of a registry: fetched, compared byte by byte, and put there with their digests checked."""

from __future__ import annotations

from dataclasses import dataclass

from .blobs import digest_of
from .errors import Untrustworthy
from .image_manifest import DOCKER_MANIFEST, INDEX, MANIFEST
from .session import Session

_KNOWN = f"{MANIFEST}, {INDEX}, {DOCKER_MANIFEST}"
DOCKER_DIGEST = "Docker-Content-Digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A manifest as the registry has it; the digest is that of the bytes, whatever the registry says."""

    content: bytes
    media_type: str

    @property
    def digest(self) -> str:
        """``sha256:`` and 64 hexadecimal digits."""
        return digest_of(self.content)


class Manifests:
    """The manifests of a registry's repositories."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, repository: str, reference: str) -> Found | None:
        """The manifest with a tag or digest, None where there is none. Raises Untrustworthy where the content is not
        what its digest says."""
        answer = self._session.ask(
            "GET",
            self._session.url(repository, f"manifests/{reference}"),
            repository,
            what=f"asking for {repository}:{reference}",
            headers={"Accept": _KNOWN},
        )
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._session.refused(f"asking for {repository}:{reference}", answer)
        found = Found(content=answer.body, media_type=answer.header("Content-Type").partition(";")[0].strip())
        said = answer.header(DOCKER_DIGEST)
        wanted = reference if reference.startswith("sha256:") else said
        if said not in ("", found.digest) or wanted not in ("", found.digest):
            raise self._lied(f"gives {found.digest} for {wanted or said}")
        return found

    def put(self, repository: str, reference: str, content: bytes, media_type: str) -> bool:
        """Put a manifest under a tag or its digest, and look whether it is there. Returns whether the registry keeps
        a list of what refers to its subject (OCI 1.1). Raises Untrustworthy where it has kept something else."""
        digest = digest_of(content)
        answer = self._session.ask(
            "PUT",
            self._session.url(repository, f"manifests/{reference}"),
            repository,
            what=f"putting {repository}:{reference}",
            headers={"Content-Type": media_type},
            body=content,
        )
        if answer.status != 201:
            raise self._session.refused(f"putting {repository}:{reference}", answer)
        said = answer.header(DOCKER_DIGEST)
        if said not in ("", digest):
            raise self._lied(f"has kept {said} where {digest} was sent")
        found = self.get(repository, reference)
        if found is None or found.content != content:
            what = "nothing" if found is None else found.digest
            raise self._lied(f"has {what} under {repository}:{reference}, where {digest} was put")
        return bool(answer.header("OCI-Subject"))

    def _lied(self, what: str) -> Untrustworthy:
        return Untrustworthy(
            f"{self._session.address.host} {what}",
            remediation="Somebody else may push there at the same time; if not, do not use what lies there.",
        )
