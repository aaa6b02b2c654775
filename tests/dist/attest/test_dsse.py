"""DSSE envelopes: creating, parsing and verifying them; invalid ones are rejected."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.dist.attest.dsse import PAYLOAD_TYPE, Malformed, create_envelope, parse_envelope, pre_authentication
from portalis.dist.attest.keys import generate_key

KEY = generate_key("ed25519")
PAYLOAD = b'{"a": 1}'
ENVELOPE = create_envelope(PAYLOAD, KEY)


def changed(**values: Any) -> bytes:
    return json.dumps(json.loads(ENVELOPE) | values).encode()


def test_the_signed_bytes_are_those_of_the_protocol() -> None:
    """The example in the specification of the protocol."""
    found = pre_authentication("http://example.com/HelloWorld", b"hello world")
    assert found == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256"])
def test_a_created_envelope_is_parsed_and_verified(algorithm: str) -> None:
    key = generate_key(algorithm)
    envelope = parse_envelope(create_envelope(PAYLOAD, key))
    assert (envelope.payload, envelope.payload_type) == (PAYLOAD, PAYLOAD_TYPE)
    assert envelope.verified_by(key.public) and not envelope.verified_by(KEY.public)
    assert [each.keyid for each in envelope.signatures] == [key.public.keyid]


def test_the_same_payload_and_key_give_the_same_envelope() -> None:
    assert create_envelope(PAYLOAD, KEY) == ENVELOPE


def test_one_of_several_signatures_is_enough_and_its_keyid_is_ignored() -> None:
    (mine,) = json.loads(ENVELOPE)["signatures"]
    (other,) = json.loads(create_envelope(PAYLOAD, generate_key("ed25519")))["signatures"]
    envelope = parse_envelope(changed(signatures=[other, {"sig": mine["sig"]}]))
    assert envelope.verified_by(KEY.public)


def test_the_url_safe_alphabet_is_accepted() -> None:
    found = json.loads(ENVELOPE)
    (signature,) = found["signatures"]
    safe = base64.urlsafe_b64encode(base64.b64decode(signature["sig"])).decode()
    assert parse_envelope(changed(signatures=[{"sig": safe}])).verified_by(KEY.public)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is not valid JSON"),
        (b"\xff", "it is not valid JSON"),
        (ENVELOPE[:-9], "it is not valid JSON"),
        (ENVELOPE + ENVELOPE, "it is not valid JSON"),
        (b"[]", "expected a JSON object"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"payload": "", "payload": ""}', "has a duplicate key"),
        (b"{}", "has no signatures"),
        (changed(signatures=[]), "has no signatures"),
        (changed(signatures=[1]), "has a signature that is not an object"),
        (changed(signatures=[{}]), "has no signature"),
        (changed(signatures=[{"sig": "!"}]), "has a signature that is not base64"),
        (changed(signatures=[{"sig": ""}] * 65), "has more than 64 signatures"),
        (changed(payload=None), "has no payload"),
        (changed(payload="\u00e4"), "has a payload that is not base64"),
        (changed(payload="YQ"), "has a payload that is not base64"),
        (changed(payloadType=1), "has no payloadType"),
        (b'{"signatures": [{"sig": ""}], "payloadType": "\\ud800"}', "has no payloadType"),
    ],
)
def test_an_invalid_envelope_is_rejected_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        parse_envelope(data)


@given(st.data())
def test_a_changed_payload_or_type_is_never_verified(data: st.DataObject) -> None:
    payload = data.draw(st.binary(max_size=40).filter(lambda found: found != PAYLOAD))
    payload_type = data.draw(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1))
    for values in ({"payload": base64.b64encode(payload).decode()}, {"payloadType": payload_type}):
        assert not parse_envelope(changed(**values)).verified_by(KEY.public)


@given(at=st.integers(0, len(ENVELOPE) - 1), value=st.integers(0, 255))
def test_a_changed_byte_is_rejected_or_not_significant(at: int, value: int) -> None:
    data = ENVELOPE[:at] + bytes([value]) + ENVELOPE[at + 1 :]
    try:
        envelope = parse_envelope(data)
    except Malformed:
        return
    assert (envelope.payload, envelope.payload_type) == (PAYLOAD, PAYLOAD_TYPE) or not envelope.verified_by(KEY.public)


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
JSON = SCALARS | st.lists(SCALARS, max_size=3) | st.lists(st.dictionaries(st.sampled_from(["sig", "keyid"]), SCALARS))


@given(JSON, JSON, JSON)
def test_random_envelopes_never_crash(payload: object, payload_type: object, signatures: object) -> None:
    data = changed(payload=payload, payloadType=payload_type, signatures=signatures)
    with contextlib.suppress(Malformed):
        assert not parse_envelope(data).verified_by(KEY.public)
