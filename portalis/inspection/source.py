"""The digest of a module's bytes."""

from __future__ import annotations

import hashlib

_CHUNK_BYTES = 1 << 20


def sha256(data: bytes) -> str:
    """The SHA-256 digest in hexadecimal. Chunk by chunk, so that Ctrl-C has its chance."""
    digest, view = hashlib.sha256(), memoryview(data)
    for at in range(0, len(data), _CHUNK_BYTES):
        digest.update(view[at : at + _CHUNK_BYTES])
    return digest.hexdigest()
