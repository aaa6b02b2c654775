"""A package that was packed and signed, as its receiver has it."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

from portalis.dist import archive_target as target
from portalis.dist.attest.keys import PrivateKey, generate
from portalis.dist.verify.attestation_check import findings
from portalis.dist.verify.shipped import Finding, Shipped

from .conftest import Package

KEY = generate("ed25519")
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


def shipped(archive: Path) -> Shipped:
    """What is in it."""
    contents = {}
    with tarfile.open(archive) as tar:
        for info in tar.getmembers():
            if (file := tar.extractfile(info)) is not None:
                top, _, path = info.name.partition("/")
                contents[path] = hashlib.sha256(file.read()).hexdigest()
    return Shipped(archive=archive, top=top, contents=contents)


def found(archive: Path, key: PrivateKey | None = KEY) -> list[Finding]:
    """What the checks say, with the public key of `key`."""
    return list(findings(shipped(archive), None if key is None else key.public))
