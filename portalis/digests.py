"""SHA-256 digests of files and of bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDigest:
    """Size in bytes and SHA-256 (hex) of a file."""

    size_bytes: int
    sha256: str


def blocks(path: Path) -> Iterator[memoryview]:
    """The content of a file in blocks of at most `BLOCK_BYTES`. A block is valid until the next one is read.

    Raises OSError.
    """
    buffer = memoryview(bytearray(BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            yield buffer[:count]


def file_digest(path: Path) -> FileDigest:
    """Size and digest of a file, in bounded memory. Raises OSError."""
    digest, size = hashlib.sha256(), 0
    for block in blocks(path):
        digest.update(block)
        size += len(block)
    return FileDigest(size_bytes=size, sha256=digest.hexdigest())


def sha256_hex(data: bytes) -> str:
    """The SHA-256 of `data` in hexadecimal, computed in blocks so that Ctrl-C can interrupt it."""
    digest, view = hashlib.sha256(), memoryview(data)
    for offset in range(0, len(data), BLOCK_BYTES):
        digest.update(view[offset : offset + BLOCK_BYTES])
    return digest.hexdigest()
