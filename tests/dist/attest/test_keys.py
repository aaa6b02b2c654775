"""Keys from portalis and from openssl, loaded from valid and invalid files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from portalis.dist.attest.keys import ALGORITHMS, generate_key, load_private_key, load_public_key
from portalis.dist.attest.passphrase import FILE_VARIABLE, VARIABLE, signing_passphrase
from portalis.errors import UsageError
from tests import parts

SECRET = b"a pass\xc3\xa4phrase"


def openssl(*arguments: str | Path, data: bytes = b"") -> bytes:
    done = subprocess.run([parts.openssl(), *arguments], input=data, capture_output=True, check=True)
    return done.stdout


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_key_signs_and_verifies_after_a_round_trip_through_files(
    tmp_path: Path, algorithm: str, secret: bytes | None
) -> None:
    created = generate_key(algorithm)
    (tmp_path / "key").write_bytes(created.pem(secret))
    (tmp_path / "pub").write_bytes(created.public.pem())
    key, public = load_private_key(tmp_path / "key", secret), load_public_key(tmp_path / "pub")
    signature = key.sign(b"data")
    assert public.verify(signature, b"data") and public.keyid == created.public.keyid
    assert not public.verify(signature, b"Data")
    assert not public.verify(signature[:-1], b"data") and not public.verify(b"", b"data")
    assert not generate_key(algorithm).public.verify(signature, b"data")
    assert (b"ENCRYPTED" in created.pem(secret)) == (secret is not None)


@pytest.mark.parametrize(
    "options", [["-algorithm", "ed25519"], ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]]
)
def test_portalis_loads_keys_of_openssl_which_verifies_its_signatures(tmp_path: Path, options: list[str]) -> None:
    private, public = tmp_path / "key", tmp_path / "pub"
    openssl("genpkey", *options, "-aes-256-cbc", "-pass", "pass:secret", "-out", private)
    openssl("pkey", "-in", private, "-passin", "pass:secret", "-pubout", "-out", public)
    key = load_private_key(private, b"secret")
    assert key.public.keyid == load_public_key(public).keyid
    der = openssl("pkey", "-pubin", "-in", public, "-outform", "DER")
    assert openssl("dgst", "-sha256", "-r", data=der).split()[0].decode() == key.public.keyid
    (tmp_path / "data").write_bytes(b"data")
    (tmp_path / "sig").write_bytes(key.sign(b"data"))
    check: list[str | Path] = [
        "-verify",
        "-pubin",
        "-inkey",
        public,
        "-rawin",
        "-in",
        tmp_path / "data",
        "-sigfile",
        tmp_path / "sig",
    ]
    assert b"Verified Successfully" in openssl("pkeyutl", *check)


def test_an_unencrypted_key_ignores_the_passphrase(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(generate_key("ed25519").pem(None))
    assert load_private_key(tmp_path / "key", SECRET).sign(b"") == load_private_key(tmp_path / "key", None).sign(b"")


def test_the_repr_of_a_private_key_does_not_show_it() -> None:
    key = generate_key("ed25519")
    assert "Ed25519" not in repr(key)


def rsa() -> bytes:
    return openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")


def p384() -> bytes:
    return openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")


@pytest.mark.parametrize(
    ("data", "secret", "reason"),
    [
        (lambda: generate_key("ed25519").pem(SECRET), None, "is encrypted, but no passphrase is set"),
        (lambda: generate_key("ed25519").pem(SECRET), b"other", "the passphrase does not decrypt the private key"),
        (generate_key("ed25519").public.pem, None, "is not a private key in PEM"),
        (lambda: b"nothing", None, "is not a private key in PEM"),
        (lambda: b"", None, "is not a private key in PEM"),
        (lambda: generate_key("ed25519").pem(None)[:60], None, "is not a private key in PEM"),
        (lambda: b"-" * 70_000, None, "has more than 65536 bytes"),
        (lambda: b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", SECRET, "only cosign can decrypt it"),
        (rsa, None, "is neither Ed25519 nor ECDSA over P-256"),
        (p384, None, "is neither Ed25519 nor ECDSA over P-256"),
    ],
)
def test_an_unsupported_private_key_is_an_error_with_its_reason(
    tmp_path: Path, data: object, secret: bytes, reason: str
) -> None:
    assert callable(data)
    (tmp_path / "key").write_bytes(data())
    with pytest.raises(UsageError, match=reason) as caught:
        load_private_key(tmp_path / "key", secret)
    assert str(tmp_path / "key") in caught.value.message and caught.value.remediation
    assert SECRET.decode() not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (lambda: generate_key("ed25519").pem(None), "it is a private key"),
        (lambda: b"nothing", "it is not a public key in PEM"),
        (lambda: openssl("pkey", "-pubout", data=rsa()), "is neither Ed25519 nor ECDSA over P-256"),
    ],
)
def test_an_unsupported_public_key_is_an_error_with_its_reason(tmp_path: Path, data: object, reason: str) -> None:
    assert callable(data)
    (tmp_path / "pub").write_bytes(data())
    with pytest.raises(UsageError, match=reason):
        load_public_key(tmp_path / "pub")


def test_a_missing_key_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_public_key(tmp_path / "pub")


def test_the_passphrase_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"from a file\n")
    assert signing_passphrase({}) is None
    assert signing_passphrase({VARIABLE: "set"}) == b"set"
    assert signing_passphrase({FILE_VARIABLE: str(file)}) == b"from a file"
    with pytest.raises(UsageError, match="are both set"):
        signing_passphrase({VARIABLE: "set", FILE_VARIABLE: str(file)})


@pytest.mark.parametrize(("data", "reason"), [(b"\n", "is empty"), (b"x" * 2000, "has more than 1024 bytes")])
def test_a_file_without_a_passphrase_is_an_error(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "secret").write_bytes(data)
    with pytest.raises(UsageError, match=reason):
        signing_passphrase({FILE_VARIABLE: str(tmp_path / "secret")})
