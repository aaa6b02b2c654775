"""What was delivered, and what a check has to say of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...spec.distribution import ChecksumAlgorithm
from ..archive.checksums import checksums
from ..attest.dsse import MAX_BYTES, Malformed

_AGAIN = "Get the archive and the files beside it again, from where they were published."


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: `check` is ``signature``, ``provenance`` or ``sbom``."""

    check: str
    message: str
    remediation: str = _AGAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """What was delivered: an archive, and the SHA-256 (hex) of each of its files, by paths below its folder `top`.
    `digests` are those of the archive itself, where they are known already: it may be large."""

    archive: Path
    top: str
    contents: Mapping[str, str]
    digests: Mapping[ChecksumAlgorithm, str] = field(default_factory=dict)

    def checksums(self, path: Path, algorithms: Collection[ChecksumAlgorithm]) -> Mapping[ChecksumAlgorithm, str]:
        """The digests of the archive, or of a file beside it. Raises OSError."""
        known = path == self.archive and all(each in self.digests for each in algorithms)
        return self.digests if known else checksums(path, algorithms)

    def beside(self, ending: str) -> Path:
        """A file that belongs to the archive."""
        return self.archive.with_name(f"{self.archive.name}.{ending}")


def data_of(path: Path) -> bytes:
    """The bytes of a small file; of a larger one, enough to be told. Raises Malformed."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)  # one more than is taken: it is told, and not read further
    except OSError as error:
        raise Malformed(f"cannot be read: {error.strerror or error}") from None
