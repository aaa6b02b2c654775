"""A received package as checks see it, and the result that a check returns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...bounded import ATTESTATION_BOUNDS
from ...digests import FileDigest
from ...spec.distribution import ChecksumAlgorithm
from ..archive import file_checksums
from ..attest.dsse import Malformed
from .entries import DOWNLOAD_AGAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedPackage:
    """A package that was read: an archive, or a directory. Keys of `files` and `kept` are paths below `top`, the top
    directory of an archive."""

    path: Path
    is_archive: bool
    top: str
    """Empty for a directory."""
    files: Mapping[str, FileDigest]
    kept: Mapping[str, bytes]
    """Contents of the small files that checks parse."""
    digests: Mapping[ChecksumAlgorithm, str]
    """Digests of the archive itself, in hex, as far as they are known. Empty for a directory."""
    is_complete: bool
    """Whether the package could be read to its end."""

    def checksums(self, path: Path, algorithms: Collection[ChecksumAlgorithm]) -> Mapping[ChecksumAlgorithm, str]:
        """Return the digests of the archive or of a sidecar file. Those of the archive, which can be large, are not
        computed again. Raises OSError."""
        is_known = path == self.path and all(each in self.digests for each in algorithms)
        return self.digests if is_known else file_checksums(path, algorithms)

    def sidecar(self, ending: str) -> Path:
        """Return the path of a sidecar file of the archive, whether it exists or not."""
        return self.path.with_name(f"{self.path.name}.{ending}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationFinding:
    """A reason why a package is not verified; `check` is the name of the check that found it."""

    check: str
    message: str
    remediation: str = DOWNLOAD_AGAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The result of a check. `summary` is a sentence for the user; `proves` is whether the check compared the
    contents of the package with something."""

    name: str
    summary: str
    findings: tuple[VerificationFinding, ...] = ()
    proves: bool = False


Check = Callable[[ReceivedPackage], CheckResult]


def read_sidecar(path: Path) -> bytes:
    """Return the bytes of a sidecar file, at most one more than the parsers accept, so that they reject a larger file.
    Raises Malformed."""
    try:
        with path.open("rb") as file:
            return file.read(ATTESTATION_BOUNDS.max_bytes + 1)
    except OSError as error:
        raise Malformed(f"cannot be read: {error.strerror or error}") from None
