"""Checksums of an archive, all computed in one pass, and the checksum files for `sha256sum`, `sha512sum` and
`b3sum`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import blake3

from ...digests import blocks
from ...spec.distribution import ChecksumAlgorithm

# names of the algorithms in in-toto statements and in hashlib
DIGEST_NAMES = {
    ChecksumAlgorithm.SHA256: "sha256",
    ChecksumAlgorithm.SHA512: "sha512",
    ChecksumAlgorithm.Blake3: "blake3",
}
CHECKSUM_ENDINGS = {
    ChecksumAlgorithm.SHA256: "sha256",
    ChecksumAlgorithm.SHA512: "sha512",
    ChecksumAlgorithm.Blake3: "b3",
}


class _Hash(Protocol):
    # positional-only: hashlib and blake3 name the parameter differently
    def update(self, data: memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


def file_checksums(path: Path, algorithms: Iterable[ChecksumAlgorithm]) -> dict[ChecksumAlgorithm, str]:
    """Compute the digests of a file in hex, in bounded memory. Raises OSError."""
    hashes = {algorithm: _new_hash(algorithm) for algorithm in algorithms}
    for block in blocks(path):
        for each in hashes.values():
            each.update(block)
    return {algorithm: each.hexdigest() for algorithm, each in hashes.items()}


def checksum_file_texts(name: str, digests: Mapping[ChecksumAlgorithm, str]) -> dict[str, str]:
    """Return the checksum files of the archive `name`: file names and contents.

    ``sha256sum -c``, ``sha512sum -c`` and ``b3sum -c`` accept them in the archive's directory.
    """
    return {f"{name}.{CHECKSUM_ENDINGS[algorithm]}": f"{digest}  {name}\n" for algorithm, digest in digests.items()}


def _new_hash(algorithm: ChecksumAlgorithm) -> _Hash:
    if algorithm is ChecksumAlgorithm.Blake3:
        return blake3.blake3()
    return hashlib.new(DIGEST_NAMES[algorithm])
