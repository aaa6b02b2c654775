"""cosign and openssl verify signatures of portalis, so that users can verify them without portalis."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from portalis.dist.attest.keys import ALGORITHMS, PrivateKey, generate_key, load_private_key, load_public_key
from portalis.errors import UsageError
from tests import parts
from tests.dist.conftest import Package
from tests.dist.shipping import KEY, NAME, signed
from tests.parts import ROOT

GUIDE = ROOT / "docs" / "supply-chain.md"


def attestation(archive: Path, key: PrivateKey, blob: Path, *options: str) -> subprocess.CompletedProcess[str]:
    public = archive.parent / "key.pub"
    public.write_bytes(key.public.pem())
    command = [*parts.cosign(), "verify-blob-attestation", "--key", str(public), "--insecure-ignore-tlog"]
    command += ["--signature", f"{archive}.intoto.jsonl", *options, str(blob)]
    # it writes its cache to HOME
    environment = {**os.environ, "HOME": str(archive.parent)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_cosign_verifies_the_provenance_of_archive_sbom_and_files(package: Package, algorithm: str) -> None:
    key = generate_key(algorithm)
    archive = signed(package, key)
    module = package.base / "gelu.wasm"
    shutil.copy(ROOT / "examples" / "gelu" / "gelu.wasm", module)
    for blob in (archive, archive.with_name(f"{NAME}.sbom.cdx.json"), module):
        for kind in ("slsaprovenance1", "https://slsa.dev/provenance/v1"):
            done = attestation(archive, key, blob, "--type", kind)
            assert done.returncode == 0 and "Verified OK" in done.stderr, done.stderr


def test_cosign_rejects_a_different_key_file_or_type(package: Package) -> None:
    archive = signed(package)
    kind = ("--type", "slsaprovenance1")
    assert "accepted signatures do not match" in attestation(archive, generate_key("ed25519"), archive, *kind).stderr
    other = package.base / "other"
    other.write_bytes(archive.read_bytes() + b"\0")
    assert "no matching subject digest found" in attestation(archive, KEY, other, *kind).stderr
    assert attestation(archive, KEY, archive, "--type", "cyclonedx").returncode != 0


def test_a_signature_of_cosign_is_verified_with_its_public_key(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "COSIGN_PASSWORD": "secret"}

    def cosign(*arguments: str) -> None:
        command = [*parts.cosign(), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr

    cosign("generate-key-pair")
    (tmp_path / "blob").write_bytes(b"data")
    cosign("sign-blob", "--key", "cosign.key", "--tlog-upload=false", "--output-signature", "sig", "blob")
    key = load_public_key(tmp_path / "cosign.pub")
    assert key.verify(base64.b64decode((tmp_path / "sig").read_bytes()), b"data")
    with pytest.raises(UsageError, match="only cosign can decrypt it"):
        load_private_key(tmp_path / "cosign.key", b"secret")


def commands(title: str) -> str:
    """The shell commands in a section of the guide."""
    section = GUIDE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))


def shell(script: str, folder: Path, path: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(folder), "PATH": ":".join([*path, os.environ["PATH"]])}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, env=environment
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_guides_commands_for_openssl_work(package: Package, algorithm: str) -> None:
    parts.openssl()
    key = generate_key(algorithm)
    archive = signed(package, key)
    (archive.parent / "release.pub").write_bytes(key.public.pem())
    script = commands("Verify with openssl")
    done = shell(script, archive.parent)
    assert done.returncode == 0 and "Signature Verified Successfully" in done.stdout, done.stderr
    assert f"{NAME}: OK" in done.stdout
    envelope = json.loads((archive.parent / f"{NAME}.intoto.jsonl").read_bytes())
    payload = base64.b64decode(envelope["payload"]).replace(b'"demo"', b'"Demo"')
    envelope["payload"] = base64.b64encode(payload).decode()
    (archive.parent / f"{NAME}.intoto.jsonl").write_text(json.dumps(envelope))
    assert shell(script, archive.parent).returncode != 0


def test_the_guides_commands_for_cosign_work(package: Package, tmp_path: Path) -> None:
    archive = signed(package)
    (archive.parent / "release.pub").write_bytes(KEY.public.pem())
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "cosign"
    program.write_text(f'#!/bin/sh\nexec {" ".join(parts.cosign())} "$@"\n')
    program.chmod(0o755)
    done = shell(commands("Verify with cosign"), archive.parent, [str(program.parent)])
    assert done.returncode == 0 and done.stderr.count("Verified OK") == 2, done.stderr
