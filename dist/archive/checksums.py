"""Checksums of a finished archive, all in one pass over it, and the files that the usual tools check them with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import blake3

from ...digests import blocks
from ...spec.distribution import ChecksumAlgorithm

ENDINGS = {ChecksumAlgorithm.SHA256: "sha256", ChecksumAlgorithm.SHA512: "sha512", ChecksumAlgorithm.Blake3: "b3"}


class _Hash(Protocol):
    # positional: the names of the parameters differ between the libraries
    def update(self, data: memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


def checksums(path: Path, algorithms: Iterable[ChecksumAlgorithm]) -> dict[ChecksumAlgorithm, str]:
    """The digest of the file by each algorithm, in hex, in bounded memory. Raises OSError."""
    hashes = {algorithm: _new(algorithm) for algorithm in algorithms}
    for block in blocks(path):
        for each in hashes.values():
            each.update(block)
    return {algorithm: each.hexdigest() for algorithm, each in hashes.items()}


def checksum_files(name: str, found: Mapping[ChecksumAlgorithm, str]) -> dict[str, str]:
    """Names and texts of the checksum files that go beside the archive `name`.

    The format is that of ``sha256sum -c``, ``sha512sum -c`` and ``b3sum -c``, run in the archive's folder.
    """
    return {f"{name}.{ENDINGS[algorithm]}": f"{digest}  {name}\n" for algorithm, digest in found.items()}


def _new(algorithm: ChecksumAlgorithm) -> _Hash:
    if algorithm is ChecksumAlgorithm.Blake3:
        return blake3.blake3()
    return hashlib.new(ENDINGS[algorithm])
