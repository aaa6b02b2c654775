"""`portalis verify --key`: a package and its signature, as a receiver has them."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from portalis.dist.attest.keys import PrivateKey, generate_key
from tests.dist.conftest import Package
from tests.dist.shipping import KEY, NAME, signed
from tests.running.commands import portalis


def verify(what: Path, key: PrivateKey | None) -> tuple[int, dict[str, Any]]:
    """The exit code, and the report."""
    arguments = ["verify", str(what), "--json"]
    if key is not None:
        public = what.parent / "key.pub"
        public.write_bytes(key.public.pem())
        arguments += ["--key", str(public)]
    done = portalis(*arguments, folder=what.parent, environment=os.environ | {"PORTALIS_DEBUG": "1"})
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def told(report: dict[str, Any]) -> str:
    return "\n".join(finding["message"] for check in report["checks"] for finding in check["findings"])


@pytest.mark.parametrize("packed", ["TarGz", "Zip", "TarXz", "TarZst"])
def test_a_package_that_was_signed_is_verified(package: Package, packed: str) -> None:
    package.configure(archive_format=packed)
    archive = signed(package).parent
    (found,) = (each for each in archive.iterdir() if each.name.endswith((".tar.gz", ".zip", ".tar.xz", ".tar.zst")))
    code, report = verify(found, KEY)
    assert (code, report["verified"], told(report)) == (0, True, "")
    assert any(KEY.public.keyid in check["told"] for check in report["checks"])


def test_another_key_is_refused(package: Package) -> None:
    code, report = verify(signed(package), generate_key("ecdsa-p256"))
    assert code == 1 and not report["verified"] and "is signed with a different key" in told(report)


def test_a_package_that_is_not_signed_is_refused_where_a_key_is_given(package: Package) -> None:
    archive = signed(package, None)
    assert verify(archive, None)[0] == 0
    code, report = verify(archive, KEY)
    assert code == 1 and "the archive is not signed" in told(report)


def test_a_package_that_was_made_anew_by_somebody_else_is_refused(package: Package, tmp_path: Path) -> None:
    """All checksums and the manifest are right; only the signature is of the old package."""
    archive = signed(package)
    envelope = archive.with_name(f"{NAME}.intoto.jsonl")
    forged = Package(tmp_path / "forged")
    forged.stage("deployment/kubernetes/deployment.yaml", b"kind: Backdoor\n")
    other = signed(forged, None)
    other.with_name(f"{NAME}.provenance.json").unlink()
    other.with_name(envelope.name).write_bytes(envelope.read_bytes())
    code, report = verify(other, KEY)
    assert code == 1
    assert f"{NAME!r} differs from the provenance" in told(report)
    assert "'deployment/kubernetes/deployment.yaml' differs from the provenance" in told(report)


def test_a_folder_is_signed_by_nobody(package: Package) -> None:
    archive = signed(package)
    folder = package.base / "unpacked"
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    assert verify(folder / "demo-1.2.3", None)[0] == 0
    code, report = verify(folder / "demo-1.2.3", KEY)
    assert code == 1 and "a directory has no signature" in told(report)


def test_each_archive_of_a_folder_has_to_be_signed(package: Package) -> None:
    archive = signed(package)
    package.staging.joinpath("archives", "README.md").unlink()
    package.staging.joinpath("archives", "manifest.json").unlink()
    assert verify(archive.parent, KEY)[0] == 0
    archive.with_name(f"{NAME}.intoto.jsonl").unlink()
    code, report = verify(archive.parent, KEY)
    assert code == 1 and "the archive is not signed" in "\n".join(map(told, report["archives"]))


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path)
