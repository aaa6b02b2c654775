"""Keys that sign and check: Ed25519, and ECDSA over P-256 with SHA-256. The one module that imports `cryptography`.

Files are PEM: private keys as PKCS #8, encrypted or not, and public keys as SubjectPublicKeyInfo, as `openssl genpkey`
and `cosign` write and read them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ...errors import MissingPart, UsageError
from .passphrase import HOW

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
except ImportError:
    raise MissingPart(
        "signatures need the package cryptography, which is not installed",
        remediation="pip install 'portalis[attest]'",
    ) from None

MAX_BYTES = 64 << 10
ALGORITHMS = ("ed25519", "ecdsa-p256")
MAKE_ONE = "`portalis keygen` makes a pair of keys; so does `openssl genpkey -algorithm ed25519`."
_Private: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_Public: TypeAlias = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that checks signatures."""

    _key: _Public

    @property
    def keyid(self) -> str:
        """SHA-256, in hex, of the key's DER bytes (SubjectPublicKeyInfo)."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return hashlib.sha256(self._key.public_bytes(serialization.Encoding.DER, form)).hexdigest()

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether the owner of the private key has signed `data`."""
        try:
            if isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(signature, data)
            else:
                self._key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def pem(self) -> bytes:
        """As a file."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_bytes(serialization.Encoding.PEM, form)


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """A key that signs; nothing prints it."""

    _key: _Private

    @property
    def public(self) -> PublicKey:
        """The key that checks what this one signs."""
        return PublicKey(self._key.public_key())

    def sign(self, data: bytes) -> bytes:
        """64 bytes for Ed25519, a DER sequence for ECDSA; the same for the same data where OpenSSL can do that."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(data)
        try:
            return self._key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        except UnsupportedAlgorithm:  # OpenSSL before 3.2
            return self._key.sign(data, ec.ECDSA(hashes.SHA256()))

    def pem(self, passphrase: bytes | None) -> bytes:
        """As a file, encrypted where there is a passphrase."""
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            encryption = serialization.BestAvailableEncryption(passphrase)
        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def generate(algorithm: str) -> PrivateKey:
    """A new key of one of the `ALGORITHMS`."""
    made: dict[str, _Private] = {}
    if algorithm == "ed25519":
        made[algorithm] = ed25519.Ed25519PrivateKey.generate()
    elif algorithm == "ecdsa-p256":
        made[algorithm] = ec.generate_private_key(ec.SECP256R1())
    else:
        raise UsageError(f"{algorithm!r} is no algorithm of keys", remediation=f"Known are: {', '.join(ALGORITHMS)}.")
    return PrivateKey(made[algorithm])


def load_private(path: Path, passphrase: bytes | None) -> PrivateKey:
    """The private key in a PEM file; an unencrypted one needs no passphrase, and takes any. Raises UsageError."""
    data = _read(path, "private")
    if b" SIGSTORE PRIVATE KEY" in data:
        raise _no_key(path, "private", "cosign alone can open it")
    try:
        key = _opened(data, passphrase)
    except TypeError:
        raise UsageError(f"the private key {path} is encrypted, and no passphrase is given", remediation=HOW) from None
    except (ValueError, UnsupportedAlgorithm):
        if b"ENCRYPTED" in data:
            raise UsageError(f"the passphrase does not open the private key {path}", remediation=HOW) from None
        raise _no_key(path, "private", "it is not PEM of a private key") from None
    if isinstance(key, ed25519.Ed25519PrivateKey) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return PrivateKey(key)
    raise _no_key(path, "private", "it is neither Ed25519 nor ECDSA over P-256")


def load_public(path: Path) -> PublicKey:
    """The public key in a PEM file. Raises UsageError."""
    data = _read(path, "public")
    if b"PRIVATE KEY" in data:
        raise _no_key(path, "public", "it is a private key: keep it where it is needed, and give out the public one")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(path, "public", "it is not PEM of a public key") from None
    if isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return PublicKey(key)
    raise _no_key(path, "public", "it is neither Ed25519 nor ECDSA over P-256")


def _opened(data: bytes, passphrase: bytes | None) -> object:
    try:
        return serialization.load_pem_private_key(data, passphrase)
    except TypeError:
        if passphrase is None:
            raise
        return serialization.load_pem_private_key(data, None)  # it was not encrypted


def _read(path: Path, kind: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the {kind} key {path} cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise _no_key(path, kind, f"it has more than {MAX_BYTES} bytes")
    return data


def _no_key(path: Path, kind: str, why: str) -> UsageError:
    return UsageError(f"{path} is no {kind} key that portalis can use: {why}", remediation=MAKE_ONE)
