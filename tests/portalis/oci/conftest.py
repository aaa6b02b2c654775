"""Real registries, and artifacts for them."""

from __future__ import annotations

import random
from pathlib import Path

from portalis.oci.address import Address, parse_address
from portalis.oci.backoff import Backoff
from portalis.oci.blobs import CHUNK_BYTES, blob_of
from portalis.oci.credentials import Credentials
from portalis.oci.image_manifest import TITLE_ANNOTATION, ImageManifest, ManifestBlob, empty_config
from portalis.oci.registry import Registry
from tests.registry_server import PASSWORD, USERNAME

TYPE = "application/vnd.portalis.test"


def quick(max_tries: int = 12) -> Backoff:
    """Retries without the waits."""
    return Backoff(max_tries=max_tries, first_wait_s=0.001, max_wait_s=0.01, random=random.Random(0))


def registry(
    host: str, credentials: Credentials | None = None, *, backoff: Backoff | None = None, chunk_bytes: int = CHUNK_BYTES
) -> Registry:
    return Registry(parse_address(f"{host}/team"), credentials, backoff=backoff or quick(), chunk_bytes=chunk_bytes)


def valid_credentials(secret: str = PASSWORD) -> Credentials:
    return Credentials(username=USERNAME, secret=secret, source="the test")


def artifact(*contents: bytes | Path, **more: object) -> ImageManifest:
    layers = [
        ManifestBlob(blob=blob_of(content), media_type=TYPE, annotations={TITLE_ANNOTATION: f"file{i}"})
        for i, content in enumerate(contents)
    ]
    return ImageManifest(layers=layers, config=empty_config(), artifact_type=TYPE, **more)  # type: ignore[arg-type]


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


LOOPBACK = Address(host="127.0.0.1:1", plain_http=True)
