"""What refers to a manifest: the registry's own list (OCI 1.1), or the index under a tag where it keeps none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..bounded import parse_json
from .blobs import digest_of
from .errors import Untrustworthy
from .image_manifest import INDEX, MANIFEST, Manifest, describe, encode
from .manifest_client import Manifests
from .transport import BOUNDS


def fallback_tag(digest: str) -> str:
    """The tag of the index: ``sha256-`` and the digits."""
    return digest.replace(":", "-", 1)


def add_to_index(manifests: Manifests, repository: str, manifest: Manifest) -> bool:
    """Enter `manifest` in the index of its subject, as the OCI specification has clients do it for registries without a
    list. Returns False where it was in. Two that do this at the same moment may lose one entry: publishing again
    enters it."""
    assert manifest.subject is not None
    tag = fallback_tag(str(manifest.subject["digest"]))
    entry = _entry(manifest)
    found = manifests.get(repository, tag)
    entries = [] if found is None else _entries(found.content, f"{repository}:{tag}")
    if any(each.get("digest") == entry["digest"] for each in entries):
        return False
    body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*entries, entry]}
    manifests.put(repository, tag, encode(body), INDEX)
    return True


def _entry(manifest: Manifest) -> dict[str, Any]:
    content = manifest.content()
    entry = describe(MANIFEST, digest_of(content), len(content), manifest.annotations)
    return {**entry, "artifactType": manifest.artifact_type or manifest.config.media_type}


def _entries(content: bytes, where: str) -> list[Mapping[str, Any]]:
    try:
        entries = parse_json(content, BOUNDS)["manifests"]
        if all(isinstance(each, dict) for each in entries):
            return list(entries)
    except (ValueError, LookupError, TypeError):
        pass
    raise Untrustworthy(
        f"{where} is no index of what refers to a manifest, and has the name of one",
        remediation="Remove that tag in the registry, and publish again.",
    )
