"""Real registries, and artifacts for them."""

from __future__ import annotations

import random
from pathlib import Path

from portalis.oci.address import Address, parse
from portalis.oci.backoff import Backoff
from portalis.oci.blobs import CHUNK, blob_of
from portalis.oci.credentials import Credentials
from portalis.oci.image_manifest import TITLE, Manifest, Part, empty_config
from portalis.oci.registry import Registry
from tests.registry_server import PASSWORD, USERNAME

TYPE = "application/vnd.portalis.test"


def quick(tries: int = 12) -> Backoff:
    """Retries without the waits."""
    return Backoff(tries=tries, first_s=0.001, most_s=0.01, random=random.Random(0))


def registry(
    host: str, credentials: Credentials | None = None, *, backoff: Backoff | None = None, chunk: int = CHUNK
) -> Registry:
    return Registry(parse(f"{host}/team"), credentials, backoff=backoff or quick(), chunk=chunk)


def someone(secret: str = PASSWORD) -> Credentials:
    return Credentials(username=USERNAME, secret=secret, source="the test")


def artifact(*contents: bytes | Path, **more: object) -> Manifest:
    layers = [
        Part(blob=blob_of(content), media_type=TYPE, annotations={TITLE: f"file{i}"})
        for i, content in enumerate(contents)
    ]
    return Manifest(layers=layers, config=empty_config(), artifact_type=TYPE, **more)  # type: ignore[arg-type]


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


LOOPBACK = Address(host="127.0.0.1:1", plain_http=True)
