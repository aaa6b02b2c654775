"""`portalis verify --key`: signatures of packages, as a recipient checks them."""

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
    """Run `portalis verify`; returns its exit code and its report."""
    arguments = ["verify", str(what), "--json"]
    if key is not None:
        public = what.parent / "key.pub"
        public.write_bytes(key.public.pem())
        arguments += ["--key", str(public)]
    done = portalis(*arguments, folder=what.parent, environment=os.environ | {"PORTALIS_DEBUG": "1"})
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def messages(report: dict[str, Any]) -> str:
    return "\n".join(finding["message"] for check in report["checks"] for finding in check["findings"])


@pytest.mark.parametrize("packed", ["TarGz", "Zip", "TarXz", "TarZst"])
def test_a_signed_package_is_verified(package: Package, packed: str) -> None:
    package.configure(archive_format=packed)
    archive = signed(package).parent
    (path,) = (each for each in archive.iterdir() if each.name.endswith((".tar.gz", ".zip", ".tar.xz", ".tar.zst")))
    code, report = verify(path, KEY)
    assert (code, report["verified"], messages(report)) == (0, True, "")
    assert any(KEY.public.keyid in check["told"] for check in report["checks"])


def test_a_different_key_is_rejected(package: Package) -> None:
    code, report = verify(signed(package), generate_key("ecdsa-p256"))
    assert code == 1 and not report["verified"] and "is signed with a different key" in messages(report)


def test_an_unsigned_package_is_rejected_if_a_key_is_given(package: Package) -> None:
    archive = signed(package, None)
    assert verify(archive, None)[0] == 0
    code, report = verify(archive, KEY)
    assert code == 1 and "the archive is not signed" in messages(report)


def test_a_package_rebuilt_by_a_third_party_is_rejected(package: Package, tmp_path: Path) -> None:
    """The checksums and the manifest match, but the signature belongs to the original package."""
    archive = signed(package)
    envelope = archive.with_name(f"{NAME}.intoto.jsonl")
    forged = Package(tmp_path / "forged")
    forged.stage("deployment/kubernetes/deployment.yaml", b"kind: Backdoor\n")
    other = signed(forged, None)
    other.with_name(f"{NAME}.provenance.json").unlink()
    other.with_name(envelope.name).write_bytes(envelope.read_bytes())
    code, report = verify(other, KEY)
    assert code == 1
    assert f"{NAME!r} differs from the provenance" in messages(report)
    assert "'deployment/kubernetes/deployment.yaml' differs from the provenance" in messages(report)


def test_a_directory_has_no_signature(package: Package) -> None:
    archive = signed(package)
    folder = package.base / "unpacked"
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    assert verify(folder / "demo-1.2.3", None)[0] == 0
    code, report = verify(folder / "demo-1.2.3", KEY)
    assert code == 1 and "a directory has no signature" in messages(report)


def test_each_archive_of_a_directory_must_be_signed(package: Package) -> None:
    archive = signed(package)
    package.staging.joinpath("archives", "README.md").unlink()
    package.staging.joinpath("archives", "manifest.json").unlink()
    assert verify(archive.parent, KEY)[0] == 0
    archive.with_name(f"{NAME}.intoto.jsonl").unlink()
    code, report = verify(archive.parent, KEY)
    assert code == 1 and "the archive is not signed" in "\n".join(map(messages, report["archives"]))


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path)
