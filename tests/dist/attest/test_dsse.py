"""DSSE envelopes: what is sealed opens, and nothing else is taken for it."""

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
SEALED = create_envelope(PAYLOAD, KEY)


def changed(**values: Any) -> bytes:
    return json.dumps(json.loads(SEALED) | values).encode()


def test_the_bytes_that_are_signed_are_those_of_the_protocol() -> None:
    """The example of the protocol's own text."""
    found = pre_authentication("http://example.com/HelloWorld", b"hello world")
    assert found == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256"])
def test_what_is_sealed_opens(algorithm: str) -> None:
    key = generate_key(algorithm)
    envelope = parse_envelope(create_envelope(PAYLOAD, key))
    assert (envelope.payload, envelope.payload_type) == (PAYLOAD, PAYLOAD_TYPE)
    assert envelope.verified_by(key.public) and not envelope.verified_by(KEY.public)
    assert [each.keyid for each in envelope.signatures] == [key.public.keyid]


def test_the_same_payload_and_key_give_the_same_envelope() -> None:
    assert create_envelope(PAYLOAD, KEY) == SEALED


def test_one_signature_of_several_is_enough_whatever_key_it_names() -> None:
    (mine,) = json.loads(SEALED)["signatures"]
    (other,) = json.loads(create_envelope(PAYLOAD, generate_key("ed25519")))["signatures"]
    envelope = parse_envelope(changed(signatures=[other, {"sig": mine["sig"]}]))
    assert envelope.verified_by(KEY.public)


def test_the_url_safe_alphabet_is_taken_too() -> None:
    found = json.loads(SEALED)
    (signature,) = found["signatures"]
    safe = base64.urlsafe_b64encode(base64.b64decode(signature["sig"])).decode()
    assert parse_envelope(changed(signatures=[{"sig": safe}])).verified_by(KEY.public)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is not valid JSON"),
        (b"\xff", "it is not valid JSON"),
        (SEALED[:-9], "it is not valid JSON"),
        (SEALED + SEALED, "it is not valid JSON"),
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
def test_what_is_no_envelope_is_told(data: bytes, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        parse_envelope(data)


@given(st.data())
def test_no_change_of_payload_or_type_is_taken_for_what_was_signed(data: st.DataObject) -> None:
    payload = data.draw(st.binary(max_size=40).filter(lambda found: found != PAYLOAD))
    payload_type = data.draw(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1))
    for values in ({"payload": base64.b64encode(payload).decode()}, {"payloadType": payload_type}):
        assert not parse_envelope(changed(**values)).verified_by(KEY.public)


@given(at=st.integers(0, len(SEALED) - 1), value=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_changes_nothing_that_counts(at: int, value: int) -> None:
    data = SEALED[:at] + bytes([value]) + SEALED[at + 1 :]
    try:
        envelope = parse_envelope(data)
    except Malformed:
        return
    assert (envelope.payload, envelope.payload_type) == (PAYLOAD, PAYLOAD_TYPE) or not envelope.verified_by(KEY.public)


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
JSON = SCALARS | st.lists(SCALARS, max_size=3) | st.lists(st.dictionaries(st.sampled_from(["sig", "keyid"]), SCALARS))


@given(JSON, JSON, JSON)
def test_no_envelope_makes_it_crash(payload: object, payload_type: object, signatures: object) -> None:
    data = changed(payload=payload, payloadType=payload_type, signatures=signatures)
    with contextlib.suppress(Malformed):
        assert not parse_envelope(data).verified_by(KEY.public)
