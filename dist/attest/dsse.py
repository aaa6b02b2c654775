"""DSSE envelopes: a payload, its type, and signatures over both (https://github.com/secure-systems-lab/dsse, version
1 of protocol and envelope)."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Protocol

from ...bounded import ATTESTATION_BOUNDS, Excess, Repeated, parse_json

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_SIGNATURES = 64
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


class Malformed(ValueError):
    """An invalid document. The message continues a sentence whose subject is the document's name."""


class Signer(Protocol):
    """A private key."""

    def sign(self, data: bytes) -> bytes:
        """Return the signature of `data`."""

    @property
    def public(self) -> Verifier:
        """The public key."""


class Verifier(Protocol):
    """A public key."""

    @property
    def keyid(self) -> str:
        """The key's identifier in envelopes."""

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is a signature of `data` by this key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeSignature:
    """A signature of an envelope. `keyid` is an unauthenticated hint."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An unverified envelope."""

    payload: bytes
    payload_type: str
    signatures: tuple[EnvelopeSignature, ...]

    def verified_by(self, key: Verifier) -> bool:
        """Whether at least one of the signatures is by `key`; their key IDs are ignored."""
        signed = pre_authentication(self.payload_type, self.payload)
        return any(key.verify(each.sig, signed) for each in self.signatures)


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed (PAE): type and payload, each after its length in bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def create_envelope(payload: bytes, key: Signer, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Sign `payload`, and return an envelope with one signature, as a line of JSON."""
    signature = key.sign(pre_authentication(payload_type, payload))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"keyid": key.public.keyid, "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(envelope).encode() + b"\n"


def parse_envelope(data: bytes) -> Envelope:
    """Parse a single envelope, without verifying it. Raises Malformed."""
    document = parse_json_object(data, "a DSSE envelope")
    signatures = document.get("signatures")
    if not isinstance(signatures, list) or not signatures:
        raise Malformed("has no signatures")
    if len(signatures) > MAX_SIGNATURES:
        raise Malformed(f"has more than {MAX_SIGNATURES} signatures")
    payload_type = document.get("payloadType")
    if not isinstance(payload_type, str) or not payload_type.isprintable():
        raise Malformed("has no payloadType")
    return Envelope(
        payload=_decode_base64(document.get("payload"), "payload"),
        payload_type=payload_type,
        signatures=tuple(_signature(each) for each in signatures),
    )


def parse_json_object(data: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object in UTF-8 without duplicate keys. Raises Malformed; `what` names the expected document."""
    try:
        document = parse_json(data, ATTESTATION_BOUNDS)
    except Excess as error:
        raise Malformed(f"is not {what}: it {error}") from None
    except Repeated:
        raise Malformed("has a duplicate key") from None
    except ValueError as error:
        raise Malformed(f"is not {what}: it is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise Malformed(f"is not {what}: expected a JSON object")
    return document


def _signature(value: Any) -> EnvelopeSignature:
    if not isinstance(value, dict):
        raise Malformed("has a signature that is not an object")
    keyid = value.get("keyid", "")
    sig = _decode_base64(value.get("sig"), "signature")
    return EnvelopeSignature(keyid=keyid if isinstance(keyid, str) else "", sig=sig)


def _decode_base64(text: Any, what: str) -> bytes:
    """Decode base64 with the standard or the URL-safe alphabet, as the protocol allows both."""
    if not isinstance(text, str):
        raise Malformed(f"has no {what}")
    try:
        return base64.b64decode(text.encode("ascii").translate(_URL_SAFE), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Malformed(f"has a {what} that is not base64") from None
