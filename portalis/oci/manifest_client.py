"""Manifests of a registry: fetched and put with their digests checked, and listed as referrers of their subjects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..bounded import parse_json
from .blobs import content_digest
from .errors import Untrustworthy
from .image_manifest import (
    DOCKER_MANIFEST_TYPE,
    INDEX_TYPE,
    MANIFEST_TYPE,
    ImageManifest,
    canonical_json,
    oci_descriptor,
)
from .session import Session
from .transport import RESPONSE_BOUNDS

_ACCEPTED = f"{MANIFEST_TYPE}, {INDEX_TYPE}, {DOCKER_MANIFEST_TYPE}"
_DIGEST_HEADER = "Docker-Content-Digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteManifest:
    """A manifest as the registry returned it."""

    content: bytes
    media_type: str

    @property
    def digest(self) -> str:
        """The digest of the content: ``sha256:`` and 64 hexadecimal digits."""
        return content_digest(self.content)


class ManifestClient:
    """The manifest endpoints of a registry."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, repository: str, reference: str) -> RemoteManifest | None:
        """The manifest with a tag or digest, None if it does not exist. Raises Untrustworthy if the content does not
        match its digest."""
        what = f"fetching the manifest {repository}:{reference}"
        response = self._session.request(
            "GET",
            self._session.url(repository, f"manifests/{reference}"),
            repository,
            what=what,
            headers={"Accept": _ACCEPTED},
        )
        if response.status == 404:
            return None
        if response.status != 200:
            raise self._session.unexpected_response(what, response)
        media_type = response.header("Content-Type").partition(";")[0].strip()
        manifest = RemoteManifest(content=response.body, media_type=media_type)
        digest_header = response.header(_DIGEST_HEADER)
        expected = reference if reference.startswith("sha256:") else digest_header
        if digest_header not in ("", manifest.digest) or expected not in ("", manifest.digest):
            raise self._mismatch(f"returned {manifest.digest} for {expected or digest_header}")
        return manifest

    def put(self, repository: str, reference: str, content: bytes, media_type: str) -> bool:
        """Put a manifest under a tag or its digest, and read it back.

        Returns whether the registry has listed it as a referrer of its subject (OCI 1.1). Raises Untrustworthy if the
        registry has stored something else.
        """
        digest, what = content_digest(content), f"putting the manifest {repository}:{reference}"
        response = self._session.request(
            "PUT",
            self._session.url(repository, f"manifests/{reference}"),
            repository,
            what=what,
            headers={"Content-Type": media_type},
            body=content,
        )
        if response.status != 201:
            raise self._session.unexpected_response(what, response)
        digest_header = response.header(_DIGEST_HEADER)
        if digest_header not in ("", digest):
            raise self._mismatch(f"stored {digest_header}, expected {digest}")
        stored = self.get(repository, reference)
        if stored is None or stored.content != content:
            found = "no manifest" if stored is None else stored.digest
            raise self._mismatch(f"has {found} under {repository}:{reference}, expected {digest}")
        return bool(response.header("OCI-Subject"))

    def lists_referrers(self, repository: str, digest: str) -> bool:
        """Whether the registry has a list of the manifests that refer to `digest` (OCI 1.1)."""
        url, what = self._session.url(repository, f"referrers/{digest}"), "requesting the referrers of an artifact"
        return self._session.request("GET", url, repository, what=what).status == 200

    def add_to_index(self, repository: str, manifest: ImageManifest) -> bool:
        """Add `manifest` to the index of its subject's referrers: the fallback of the OCI specification for registries
        without a list of referrers. Returns False if the index contained it.

        Of two clients that do this at the same moment, one entry can be lost; publishing again adds it.
        """
        assert manifest.subject is not None
        tag = fallback_tag(str(manifest.subject["digest"]))
        entry = _index_entry(manifest)
        index = self.get(repository, tag)
        entries = [] if index is None else _index_entries(index.content, f"{repository}:{tag}")
        if any(each.get("digest") == entry["digest"] for each in entries):
            return False
        body = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [*entries, entry]}
        self.put(repository, tag, canonical_json(body), INDEX_TYPE)
        return True

    def _mismatch(self, what: str) -> Untrustworthy:
        return Untrustworthy(
            f"{self._session.address.host} {what}",
            remediation="Another client may be pushing there at the same time. If not, do not use this manifest.",
        )


def fallback_tag(digest: str) -> str:
    """The tag of the index of a manifest's referrers: ``sha256-`` and the digits."""
    return digest.replace(":", "-", 1)


def _index_entry(manifest: ImageManifest) -> dict[str, Any]:
    content = manifest.content()
    entry = oci_descriptor(MANIFEST_TYPE, content_digest(content), len(content), manifest.annotations)
    return {**entry, "artifactType": manifest.artifact_type or manifest.config.media_type}


def _index_entries(content: bytes, where: str) -> list[Mapping[str, Any]]:
    try:
        entries = parse_json(content, RESPONSE_BOUNDS)["manifests"]
        if all(isinstance(each, dict) for each in entries):
            return list(entries)
    except (ValueError, LookupError, TypeError):
        pass
    raise Untrustworthy(
        f"expected an index of referrers under {where}, got another document",
        remediation="Remove that tag in the registry, and publish again.",
    )
