"""Signing keys: Ed25519, and ECDSA over P-256 with SHA-256. The only module that imports `cryptography`.

Files are PEM: private keys as PKCS #8, encrypted or not, and public keys as SubjectPublicKeyInfo. `openssl genpkey` and
`cosign` write and read the same formats.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ...errors import MissingPart, UsageError
from .passphrase import HOW_TO_SET

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
except ImportError:
    raise MissingPart(
        "signatures need the package cryptography, which is not installed",
        remediation="Install it: pip install 'portalis[attest]'.",
    ) from None

MAX_BYTES = 64 << 10
ALGORITHMS = ("ed25519", "ecdsa-p256")
_HOW_TO_CREATE = "Create a key pair with `portalis keygen`, or a private key with `openssl genpkey -algorithm ed25519`."
_Private: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_Public: TypeAlias = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies signatures."""

    _key: _Public

    @property
    def keyid(self) -> str:
        """SHA-256 (hex) of the key in DER (SubjectPublicKeyInfo)."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return hashlib.sha256(self._key.public_bytes(serialization.Encoding.DER, form)).hexdigest()

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is a signature of `data` by the private key."""
        try:
            if isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(signature, data)
            else:
                self._key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def pem(self) -> bytes:
        """Encode as PEM."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_bytes(serialization.Encoding.PEM, form)


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """A key that signs. Its repr does not show the key."""

    _key: _Private

    @property
    def public(self) -> PublicKey:
        """The key that verifies signatures of this key."""
        return PublicKey(self._key.public_key())

    def sign(self, data: bytes) -> bytes:
        """Sign `data`: 64 bytes for Ed25519, a DER sequence for ECDSA, deterministic with OpenSSL 3.2 and later."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(data)
        try:
            return self._key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        except UnsupportedAlgorithm:  # OpenSSL before 3.2
            return self._key.sign(data, ec.ECDSA(hashes.SHA256()))

    def pem(self, passphrase: bytes | None) -> bytes:
        """Encode as PEM, encrypted if `passphrase` is not None."""
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            encryption = serialization.BestAvailableEncryption(passphrase)
        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def generate_key(algorithm: str) -> PrivateKey:
    """Generate a key for one of the `ALGORITHMS`. Raises UsageError."""
    if algorithm == "ed25519":
        return PrivateKey(ed25519.Ed25519PrivateKey.generate())
    if algorithm == "ecdsa-p256":
        return PrivateKey(ec.generate_private_key(ec.SECP256R1()))
    supported = ", ".join(ALGORITHMS)
    raise UsageError(f"unsupported key algorithm {algorithm!r}", remediation=f"Supported algorithms: {supported}.")


def load_private_key(path: Path, passphrase: bytes | None) -> PrivateKey:
    """Load a private key from a PEM file; for an unencrypted key, the passphrase is ignored. Raises UsageError."""
    data = _read(path, "private")
    if b" SIGSTORE PRIVATE KEY" in data:
        raise _unsupported_key(path, "private", "only cosign can decrypt it")
    try:
        key = _decrypt(data, passphrase)
    except TypeError:
        raise UsageError(
            f"the private key {path} is encrypted, but no passphrase is set", remediation=HOW_TO_SET
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        if b"ENCRYPTED" in data:
            raise UsageError(
                f"the passphrase does not decrypt the private key {path}", remediation=HOW_TO_SET
            ) from None
        raise _unsupported_key(path, "private", "it is not a private key in PEM") from None
    if isinstance(key, ed25519.Ed25519PrivateKey) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return PrivateKey(key)
    raise _unsupported_key(path, "private", "it is neither Ed25519 nor ECDSA over P-256")


def load_public_key(path: Path) -> PublicKey:
    """Load a public key from a PEM file. Raises UsageError."""
    data = _read(path, "public")
    if b"PRIVATE KEY" in data:
        raise _unsupported_key(path, "public", "it is a private key, which must stay secret; use the public key")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise _unsupported_key(path, "public", "it is not a public key in PEM") from None
    if isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return PublicKey(key)
    raise _unsupported_key(path, "public", "it is neither Ed25519 nor ECDSA over P-256")


def _decrypt(data: bytes, passphrase: bytes | None) -> object:
    try:
        return serialization.load_pem_private_key(data, passphrase)
    except TypeError:
        if passphrase is None:
            raise
        return serialization.load_pem_private_key(data, None)  # the key is not encrypted


def _read(path: Path, kind: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the {kind} key {path} cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise _unsupported_key(path, kind, f"it has more than {MAX_BYTES} bytes")
    return data


def _unsupported_key(path: Path, kind: str, reason: str) -> UsageError:
    return UsageError(f"{path} is not a {kind} key that portalis supports: {reason}", remediation=_HOW_TO_CREATE)
