"""`portalis keygen`."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from portalis.dist.attest.keys import load_private_key, load_public_key
from tests.running.commands import portalis


def keygen(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return portalis("keygen", *arguments, folder=folder, environment=os.environ | environment)


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256"])
def test_the_generated_key_pair_signs_and_verifies(tmp_path: Path, algorithm: str) -> None:
    done = keygen(tmp_path, "release", "--algorithm", algorithm, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    private, public = load_private_key(tmp_path / "release.key", None), load_public_key(tmp_path / "release.pub")
    assert public.verify(private.sign(b"x"), b"x")
    assert summary["keyid"] == public.keyid and summary["algorithm"] == algorithm and summary["encrypted"] is False
    assert stat.S_IMODE((tmp_path / "release.key").stat().st_mode) == 0o600


def test_a_passphrase_encrypts_the_private_key_and_is_not_printed(tmp_path: Path) -> None:
    done = keygen(tmp_path, PORTALIS_SIGNING_PASSPHRASE="squeamish")
    assert done.returncode == 0, done.stderr
    assert b"ENCRYPTED" in (tmp_path / "portalis.key").read_bytes()
    load_private_key(tmp_path / "portalis.key", b"squeamish")
    (tmp_path / "secret").write_text("ossifrage\n")
    assert keygen(tmp_path, "second", "--passphrase-file", "secret").returncode == 0
    load_private_key(tmp_path / "second.key", b"ossifrage")
    assert "squeamish" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["release.key", "release.pub"])
def test_an_existing_file_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    done = keygen(tmp_path, "release")
    assert done.returncode == 2 and f"{name} exists" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "precious"


def test_an_unknown_algorithm_is_reported(tmp_path: Path) -> None:
    done = keygen(tmp_path, "--algorithm", "rsa")
    assert done.returncode == 2 and "ed25519, ecdsa-p256" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    done = keygen(tmp_path, "nowhere/release")
    assert done.returncode == 2 and "cannot write" in done.stderr
