"""Secrets in a Rust workspace are omitted from the archive and reported; public files, and files that only mention
keys, are shipped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from portalis.dist.archive.rust_source import Exclusion, OmittedFile, rust_source
from portalis.dist.archive.secrets import SCANNED_BYTES

from .test_rust_source import put

KEY = ec.generate_private_key(ec.SECP256R1())
PEM, OPENSSH, PKCS8 = (
    serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.PrivateFormat.OpenSSH,
    serialization.PrivateFormat.PKCS8,
)


def private(how: serialization.PrivateFormat, secret: bytes | None = None) -> bytes:
    """A private key in the format `how`, encrypted with `secret`."""
    lock = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    key = ed25519.Ed25519PrivateKey.generate() if how is OPENSSH else KEY
    return key.private_bytes(serialization.Encoding.PEM, how, lock)


PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
PGP = b"-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2.0.1 (GNU/Linux)\n\nlQOY\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n"

SECRETS = {
    "id_rsa": private(PEM),
    "src/server.key": private(PKCS8),
    "credentials.toml": b"token = 1\n",
    "deploy/id_ed25519.bak": b"x",
    "deploy/id_work": b"x",
    "tls/server.pem": b"x",
    "tls/both.pem": CERTIFICATE + private(PKCS8),
    "tls/SERVER.KEY": b"x",
    "tls/store.p12": b"x",
    "tls/store.pfx": b"x",
    ".netrc": b"machine a login b password c\n",
    ".pgpass": b"x",
    ".git-credentials": b"https://a:b@c\n",
    ".env": b"A=1\n",
    "crates/one/.env.production": b"A=1\n",
    ".cargo/credentials.toml": b"x",
    ".cargo/credentials": b"x",
    "credentials-prod.json": b"{}",
    "secrets.yaml": b"a: 1\n",
    "kubeconfig": b"x",
    ".docker/config.json": b"{}",
    "infra/terraform.tfstate": b"{}",
    "infra/terraform.tfstate.backup": b"{}",
    ".npmrc": b"//registry.npmjs.org/:_authToken=abc\n",
    ".pypirc": b"[pypi]\nusername = a\npassword = b\n",
    # detected by content, with any name
    "notes.txt": b"the key:\n" + private(PEM),
    "encrypted": private(PEM, b"secret"),
    "pkcs8.txt": private(PKCS8, b"secret"),
    "data/ssh": private(OPENSSH),
    "data/gpg.asc": PGP,
    "data/dos.txt": private(PKCS8).replace(b"\n", b"\r\n"),
    "data/account.json": b'{"private_key": "' + private(PKCS8).replace(b"\n", b"\\n") + b'"}',
    "src/embedded.rs": b'const KEY: &str = r"' + private(PKCS8) + b'";',
    "data/putty": b"PuTTY-User-Key-File-3: ssh-ed25519\n",
    "data/age.txt": b"# created\nAGE-SECRET-KEY-1" + b"Q" * 58 + b"\n",
}
KEPT = {
    "Cargo.toml": b"[workspace]\n",
    "src/credentials.rs": b"pub struct Credentials;",
    "src/secrets.rs": b"",
    "src/id_map.rs": b"",
    "src/key.rs": b'const BEGIN: &str = "-----BEGIN PRIVATE KEY-----"; const END: &str = "-----END PRIVATE KEY-----";',
    "README.md": b"Keys begin with `-----BEGIN PRIVATE KEY-----` and end with `-----END PRIVATE KEY-----`.",
    "id_rsa.pub": b"ssh-rsa AAAA me\n",
    "tls/ca.pem": CERTIFICATE,
    "tls/with_text.pem": b"Certificate:\n    Data:\n\n" + CERTIFICATE,
    "tls/public.key": PUBLIC,
    "tls/public.pem": PUBLIC,
    ".env.example": b"A=\n",
    ".npmrc": b"registry=https://registry.npmjs.org/\n",
    ".cargo/config.toml": b"",
}


def shipped(root: Path, exclude: Sequence[str] = ()) -> tuple[list[str], list[OmittedFile]]:
    members, omitted = rust_source(root, "src", exclude)
    return [str(member.path.relative_to("src")) for member in members], omitted


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_omitted_and_reported(tmp_path: Path, name: str) -> None:
    put(tmp_path, "Cargo.toml")
    put(tmp_path, name, SECRETS[name])
    names, omitted = shipped(tmp_path)
    assert names == ["Cargo.toml"]
    (one,) = omitted
    assert one.is_secret and f"'{name}' contains " in one.message


def test_public_files_and_files_that_only_mention_keys_are_shipped(tmp_path: Path) -> None:
    for name, data in KEPT.items():
        put(tmp_path, name, data)
    names, omitted = shipped(tmp_path)
    assert (sorted(names), omitted) == (sorted(KEPT), [])


@pytest.mark.parametrize("folder", [".ssh", ".aws", ".gnupg", ".kube", ".config/gcloud", "home/.SSH"])
def test_a_directory_of_credentials_is_omitted_and_reported_once(tmp_path: Path, folder: str) -> None:
    put(tmp_path, "Cargo.toml")
    put(tmp_path, f"{folder}/config")
    put(tmp_path, f"{folder}/more/x")
    names, omitted = shipped(tmp_path)
    assert names == ["Cargo.toml"]
    assert [each.message for each in omitted] == [f"the directory '{folder}' contains credentials"]


@pytest.mark.parametrize(
    "name", [".git/config", ".git", ".hg/x", ".svn/x", "node_modules/a/b.js", ".venv/bin/x", "target/debug/x"]
)
def test_version_control_and_tool_output_are_omitted_without_a_report(tmp_path: Path, name: str) -> None:
    put(tmp_path, "Cargo.toml")
    put(tmp_path, name)
    assert shipped(tmp_path) == (["Cargo.toml"], [])


def test_a_link_to_a_secret_is_omitted_under_its_own_name(tmp_path: Path) -> None:
    put(tmp_path, "Cargo.toml")
    put(tmp_path, "id_rsa", private(PEM))
    put(tmp_path, ".ssh/known")
    (tmp_path / "innocent").symlink_to("id_rsa")
    (tmp_path / "known").symlink_to(".ssh/known")
    names, omitted = shipped(tmp_path)
    assert names == ["Cargo.toml"]
    assert sorted(each.message.split("'")[1] for each in omitted) == [".ssh", "id_rsa", "innocent", "known"]


def test_patterns_exclude_files_and_keep_secrets(tmp_path: Path) -> None:
    for name, data in {"a.bak": b"x", "notes/a": b"x", "tests/server.key": private(PKCS8), "server.key": b"x"}.items():
        put(tmp_path, name, data)
    names, omitted = shipped(tmp_path, ["*.bak", "/notes/", "!tests/*.key"])
    assert names == ["tests/server.key"]
    assert [each.message.split("'")[1] for each in omitted] == ["server.key"]
    assert "a.bak" in shipped(tmp_path, ["*.bak", "!a.bak"])[0]
    assert shipped(tmp_path, ["**"]) == ([], [])
    put(tmp_path, ".ssh/config")
    put(tmp_path, ".git/config")
    assert sorted(shipped(tmp_path, ["!**"])[0]) == [
        *(".git/config", ".ssh/config", "a.bak", "notes/a", "server.key", "tests/server.key"),
    ]


@pytest.mark.parametrize(
    ("pattern", "path", "is_folder", "fits"),
    [
        ("*.bak", "a/b/c.bak", False, True),
        ("a/*.bak", "a/b.bak", False, True),
        ("a/*.bak", "a/b/c.bak", False, False),
        ("a/**/c", "a/c", False, True),
        ("a/**/c", "a/b/b/c", False, True),
        ("**/c", "c", False, True),
        ("a/**", "a", True, False),
        ("a/**", "a/b", False, True),
        ("/a", "b/a", False, False),
        ("a/", "a", False, False),
        ("a/", "b/a", True, True),
        ("[ab]?", "b1", False, True),
    ],
)
def test_a_pattern_matches_as_in_a_gitignore(pattern: str, path: str, is_folder: bool, fits: bool) -> None:
    assert (Exclusion((pattern,)).excludes(path.split("/"), is_folder=is_folder) is True) == fits


@pytest.mark.parametrize(
    "data", [b"\n" * SCANNED_BYTES, b"-----BEGIN PRIVATE KEY-----\n" * 100_000, b" \n" * 1_000_000]
)
def test_every_content_is_scanned_quickly(tmp_path: Path, data: bytes) -> None:
    put(tmp_path, "a.pem", data)
    put(tmp_path, "a.txt", b"x" + data)
    began = time.thread_time()
    shipped(tmp_path)
    assert time.thread_time() - began < 3
