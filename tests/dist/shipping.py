"""A package that was packed and signed, as its receiver has it."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

from portalis.digests import FileDigest
from portalis.dist import archive_target as target
from portalis.dist.attest.keys import PrivateKey, generate_key
from portalis.dist.verify.attestation_check import attestation_findings
from portalis.dist.verify.received_package import ReceivedPackage, VerificationFinding

from .conftest import Package

KEY = generate_key("ed25519")
NAME = "demo-1.2.3.tar.gz"


def signed(package: Package, key: PrivateKey | None = KEY) -> Path:
    """Pack, and return the archive."""
    if key is not None:
        path = Path(package.input("signing.key", key.pem(None)))
        path.chmod(0o600)
        package.configure(signing_key=str(path))
    job = package.job()
    target.run(job, target.generate(job))
    return package.staging / "archives" / NAME


def received(archive: Path) -> ReceivedPackage:
    """The archive with the digests of its files, as the reader of tar archives returns it."""
    files = {}
    with tarfile.open(archive) as tar:
        for info in tar.getmembers():
            if (file := tar.extractfile(info)) is not None:
                top, _, path = info.name.partition("/")
                files[path] = FileDigest(size_bytes=info.size, sha256=hashlib.sha256(file.read()).hexdigest())
    return ReceivedPackage(path=archive, is_archive=True, top=top, files=files, kept={}, digests={}, is_complete=True)


def findings(archive: Path, key: PrivateKey | None = KEY) -> list[VerificationFinding]:
    """The findings about the attestations, with the public key of `key`."""
    return list(attestation_findings(received(archive), None if key is None else key.public))
