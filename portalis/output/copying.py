"""Writes and copies files, hashing the very bytes that are written, in one pass."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """Size and SHA-256 (hex) of a file."""

    size_bytes: int
    sha256: str


def write_bytes(data: bytes, target: Path, mode: int) -> Digest:
    """Make the file `target`, which must not exist, with `mode` less the umask."""
    with _create(target, mode) as file:
        file.write(data)
    return Digest(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def copy_file(source: Path, target: Path, mode: int) -> Digest:
    """Copy `source` to `target`, which must not exist, with `mode` less the umask."""
    found, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(CHUNK))
    with source.open("rb", buffering=0) as original, _create(target, mode) as file:
        while count := original.readinto(buffer):
            found.update(buffer[:count])
            file.write(buffer[:count])
            size += count
    return Digest(size_bytes=size, sha256=found.hexdigest())


def digest_of(path: Path) -> Digest:
    """Size and hash of a file, in bounded memory."""
    found, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            found.update(buffer[:count])
            size += count
    return Digest(size_bytes=size, sha256=found.hexdigest())


def _create(target: Path, mode: int) -> BufferedWriter:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    return os.fdopen(descriptor, "wb")
