"""DSSE envelopes: a payload, its type, and signatures over both (https://github.com/secure-systems-lab/dsse, protocol
and envelope of version 1)."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Protocol

from ...bounded import Bounds, Excess, Repeated, parse_json

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_BYTES = 64 << 20
_BOUNDS = Bounds(max_bytes=MAX_BYTES, max_values=2_000_000)
MAX_SIGNATURES = 64
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


class Malformed(ValueError):
    """What was read is not what it should be; the message is a part of a sentence that begins with its name."""


class Signer(Protocol):
    """A private key."""

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`."""

    @property
    def public(self) -> Verifier:
        """Its public key."""


class Verifier(Protocol):
    """A public key."""

    @property
    def keyid(self) -> str:
        """What an envelope calls it."""

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether it is the signature of `data`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature of an envelope. `keyid` is a hint that anyone can write."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What was signed, and by whom as they say."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    def verified_by(self, key: Verifier) -> bool:
        """Whether one of the signatures is of this key, whatever key it names."""
        signed = pre_authentication(self.payload_type, self.payload)
        return any(key.verify(each.sig, signed) for each in self.signatures)


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed (PAE): type and payload, each behind its length in bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sealed(payload: bytes, key: Signer, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """An envelope of one signature, as a line of JSON."""
    signature = key.sign(pre_authentication(payload_type, payload))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"keyid": key.public.keyid, "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(envelope).encode() + b"\n"


def opened(data: bytes) -> Envelope:
    """The envelope in `data`, unverified. Raises Malformed, for several envelopes too."""
    found = json_object(data, "a DSSE envelope")
    signatures = found.get("signatures")
    if not isinstance(signatures, list) or not signatures:
        raise Malformed("has no signatures")
    if len(signatures) > MAX_SIGNATURES:
        raise Malformed(f"has more than {MAX_SIGNATURES} signatures")
    payload_type = found.get("payloadType")
    if not isinstance(payload_type, str) or not payload_type.isprintable():
        raise Malformed("has no payloadType")
    return Envelope(
        payload=_decoded(found.get("payload"), "payload"),
        payload_type=payload_type,
        signatures=tuple(_signature(each) for each in signatures),
    )


def json_object(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object in `data`, in UTF-8, each key given once. Raises Malformed, which calls it `what`."""
    try:
        found = parse_json(data, _BOUNDS)
    except Excess as error:
        raise Malformed(f"{error}, which {what} has not") from None
    except Repeated:
        raise Malformed("has a key twice") from None
    except ValueError as error:
        raise Malformed(f"is not {what}, it is not even JSON: {error}") from None
    if not isinstance(found, dict):
        raise Malformed(f"is not {what}: it is no JSON object")
    return found


def _signature(each: Any) -> Signature:
    if not isinstance(each, dict):
        raise Malformed("has a signature that is no object")
    keyid = each.get("keyid", "")
    return Signature(keyid=keyid if isinstance(keyid, str) else "", sig=_decoded(each.get("sig"), "signature"))


def _decoded(text: Any, what: str) -> bytes:
    """Base64, of either alphabet, as the protocol has it."""
    if not isinstance(text, str):
        raise Malformed(f"has no {what}")
    try:
        return base64.b64decode(text.encode("ascii").translate(_URL_SAFE), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Malformed(f"has a {what} that is not base64") from None
