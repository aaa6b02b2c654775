"""What is checked of an archive's signature, provenance and SBOM: all is well, or each trouble is told as what it is."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.dist.attest.dsse import sealed
from portalis.dist.attest.keys import generate
from portalis.dist.verify.attestation_check import findings
from portalis.dist.verify.shipped import Shipped
from tests.dist.conftest import MODULE, Package
from tests.dist.shipping import KEY, NAME, found, shipped, signed

ENVELOPE, BILL, UNSIGNED = (f"{NAME}.{ending}" for ending in ("intoto.jsonl", "sbom.cdx.json", "provenance.json"))


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed(Package(tmp_path_factory.mktemp("delivery")))


@pytest.fixture
def archive(delivery: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    for path in delivery.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / NAME


def envelope(archive: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((archive.with_name(ENVELOPE)).read_bytes())
    return made


def statement(archive: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(base64.b64decode(envelope(archive)["payload"]))
    return made


def resign(archive: Path, change: Callable[[dict[str, Any]], object], **options: str) -> None:
    """Sign another statement with the right key."""
    said = statement(archive)
    change(said)
    archive.with_name(ENVELOPE).write_bytes(sealed(json.dumps(said).encode(), KEY, **options))


def messages(archive: Path, key: object = KEY) -> list[str]:
    told = found(archive, key)  # type: ignore[arg-type]
    assert all(each.remediation for each in told)
    return [f"{each.check}: {each.message}" for each in told]


def subject(said: dict[str, Any], name: str) -> dict[str, Any]:
    (one,) = (each for each in said["subject"] if each["name"] == name)
    found_one: dict[str, Any] = one
    return found_one


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256"])
def test_what_was_signed_is_found_right(package: Package, algorithm: str) -> None:
    key = generate(algorithm)
    archive = signed(package, key)
    assert found(archive, key) == [] and found(archive, None) == []
    names = {each.name for each in archive.parent.iterdir()}
    assert {ENVELOPE, BILL} < names and UNSIGNED not in names


def test_unsigned_provenance_is_checked_but_does_not_do_where_a_key_is_given(package: Package) -> None:
    archive = signed(package, None)
    assert found(archive, None) == []
    assert messages(archive) == [
        f"signature: nothing is signed: {ENVELOPE} is not there, and {UNSIGNED} is not signed",
    ]
    archive.with_name(UNSIGNED).unlink()
    assert messages(archive) == [
        f"signature: nothing is signed: {ENVELOPE} is not there, and there is no provenance",
    ]


def test_another_key_is_named(archive: Path) -> None:
    other = generate("ed25519")
    assert messages(archive, other) == [
        f"signature: {ENVELOPE} is signed with another key: {KEY.public.keyid!r}, and not {other.public.keyid}"
    ]


def test_a_changed_payload_is_told(archive: Path) -> None:
    said = statement(archive)
    said["predicate"]["runDetails"]["builder"]["id"] = "https://someone.else.example"
    spoiled = envelope(archive) | {"payload": base64.b64encode(json.dumps(said).encode()).decode()}
    archive.with_name(ENVELOPE).write_text(json.dumps(spoiled))
    (message,) = messages(archive)
    assert message.startswith(f"signature: {ENVELOPE} was changed after it was signed")
    assert found(archive, None) == []  # without a key nobody can tell


def test_a_signature_of_an_attacker_under_our_keyid_is_told(archive: Path) -> None:
    forged = json.loads(sealed(base64.b64decode(envelope(archive)["payload"]), generate("ed25519")))
    forged["signatures"][0]["keyid"] = KEY.public.keyid
    archive.with_name(ENVELOPE).write_text(json.dumps(forged))
    (message,) = messages(archive)
    assert "was changed after it was signed" in message


@pytest.mark.parametrize("keep", [0, 1, 100, -3])
def test_a_truncated_envelope_is_told(archive: Path, keep: int) -> None:
    path = archive.with_name(ENVELOPE)
    path.write_bytes(path.read_bytes()[:keep])
    (message,) = messages(archive)
    assert message.startswith(f"signature: {ENVELOPE} is not a DSSE envelope")


def test_another_type_of_payload_is_told_though_it_is_signed(archive: Path) -> None:
    resign(archive, lambda said: None, payload_type="application/json")
    (message,) = messages(archive)
    assert "has a payload of the type 'application/json'" in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda said: said.update(predicateType="https://example.com/other"),
            "says 'https://example.com/other' of the",
        ),
        (lambda said: said.update(_type="x"), "is no in-toto statement of version 1"),
        (lambda said: said.update(subject=[]), "has no subjects"),
    ],
)
def test_a_statement_that_is_none_of_ours_is_told(
    archive: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    resign(archive, change)
    (message,) = messages(archive)
    assert message.startswith("provenance: ") and said in message


def test_every_subject_that_is_too_much_too_little_or_wrong_is_told(archive: Path) -> None:
    def change(said: dict[str, Any]) -> None:
        said["subject"].remove(subject(said, "demo-1.2.3/README.md"))
        subject(said, "demo-1.2.3/manifest.json")["digest"]["sha256"] = "1" * 64
        subject(said, NAME)["digest"]["sha512"] = "2" * 128
        said["subject"].append({"name": "demo-1.2.3/more", "digest": {"sha256": "3" * 64}})
        said["subject"].append({"name": "elsewhere", "digest": {"sha256": "4" * 64}})

    resign(archive, change)
    digest = shipped(archive).contents["manifest.json"]
    assert messages(archive) == [
        f"provenance: {NAME!r} is not the file that the provenance names: its sha512 differs",
        "provenance: 'README.md' is in the archive, and the provenance does not name it",
        f"provenance: 'manifest.json' is not the file that the provenance names: its SHA-256 is {digest}",
        "provenance: the provenance names 'demo-1.2.3/more', which is not in the archive",
        "provenance: the provenance names 'elsewhere', which is no file of this archive",
    ]


def test_an_archive_that_was_repacked_is_told(archive: Path) -> None:
    delivered = shipped(archive)
    archive.write_bytes(archive.read_bytes() + b"\0")
    told = list(findings(delivered, KEY.public))
    assert [each.message.rsplit(" ", 2)[1] for each in told] == ["sha256", "sha512"]
    spoiled = dataclasses.replace(delivered, contents={**delivered.contents, "wasm/gelu.wasm": "5" * 64})
    checks = {each.check for each in findings(spoiled, KEY.public)}
    assert checks == {"provenance", "sbom"}


def test_a_renamed_archive_is_told(archive: Path) -> None:
    for path in list(archive.parent.iterdir()):
        path.rename(path.with_name(path.name.replace(NAME, "other.tar.gz")))
    told = messages(archive.with_name("other.tar.gz"))
    assert f"provenance: the provenance names this archive {NAME!r}, and it is called 'other.tar.gz'" in told


def test_an_archive_without_papers_is_fine_until_a_key_is_given(package: Package) -> None:
    package.configure(sbom=False, provenance=False)
    archive = signed(package, None)
    assert found(archive, None) == [] and len(found(archive)) == 1


def test_a_lost_sbom_is_told(archive: Path) -> None:
    archive.with_name(BILL).unlink()
    assert messages(archive) == [f"provenance: {BILL!r} is not there, and the provenance names it"]
    archive.with_name(ENVELOPE).unlink()
    assert messages(archive, None) == [f"sbom: {BILL} is not there, and the archive holds an SBOM"]


def components(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        document = json.loads(data)
        change(document["components"])
        return json.dumps(document).encode()

    return changed


def gelu(found_components: list[dict[str, Any]]) -> dict[str, Any]:
    (one,) = (each for each in found_components if each["bom-ref"] == "module:gelu")
    return one


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (components(lambda c: c.remove(gelu(c))), "the module 'wasm/gelu.wasm' is in the archive, and not in the SBOM"),
        (
            components(lambda c: c.append(json.loads(json.dumps(gelu(c)).replace("wasm/gelu", "wasm/x")))),
            "'wasm/x.wasm'",
        ),
        (components(lambda c: gelu(c).update(hashes=[])), "is not the one that the SBOM lists: its SHA-256 is"),
        (
            components(lambda c: gelu(c).update(hashes=[1, {"alg": "SHA-256", "content": 1}], properties=3)),
            "not in the SBOM",
        ),
        (lambda data: data[:-9], "is not an SBOM, it is not even JSON"),
        (lambda data: b'{"bomFormat": "SPDX"}', "is no CycloneDX document"),
        (lambda data: b'{"bomFormat": "CycloneDX", "components": 5}', "not in the SBOM"),
    ],
)
def test_an_sbom_that_says_something_else_is_told(archive: Path, spoil: Callable[[bytes], bytes], said: str) -> None:
    archive.with_name(ENVELOPE).unlink()
    bill = archive.with_name(BILL)
    bill.write_bytes(spoil(bill.read_bytes()))
    told = messages(archive, None)
    assert told[0] == f"sbom: {BILL} is not the SBOM in the archive"
    assert len(told) == 2 and said in told[1]


def test_a_module_that_is_another_is_told_by_provenance_and_sbom(archive: Path) -> None:
    delivered = shipped(archive)
    digest = hashlib.sha256(MODULE.read_bytes() + b"\0").hexdigest()
    spoiled = dataclasses.replace(delivered, contents={**delivered.contents, "wasm/gelu.wasm": digest})
    told = [each.message for each in findings(spoiled, KEY.public)]
    assert len(told) == 2 and all("'wasm/gelu.wasm' is not the" in each for each in told)


@given(data=st.data())
def test_no_change_of_an_envelope_passes_or_crashes(
    delivery: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    original = delivery.with_name(ENVELOPE).read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    cut = data.draw(st.integers(0, 4))
    spoiled = original[:at] + data.draw(st.binary(max_size=4)) + original[at + cut :]
    delivered = shipped(delivery)
    folder = tmp_path_factory.mktemp("fuzzed")
    for name in (NAME, BILL):
        (folder / name).symlink_to(delivery.with_name(name))
    (folder / ENVELOPE).write_bytes(spoiled)
    told = list(findings(dataclasses.replace(delivered, archive=folder / NAME), KEY.public))
    if _means_the_same(spoiled, original):
        assert told == []
    else:
        assert [each.check for each in told] == ["signature"]


def _means_the_same(spoiled: bytes, original: bytes) -> bool:
    """Whether what counts was left alone: keyids and white space do not."""
    try:
        return _what_counts(spoiled) == _what_counts(original)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return False


def _what_counts(data: bytes) -> tuple[str, bytes, bytes]:
    found = json.loads(data.decode("utf-8-sig"))
    # base64 of either alphabet, and nothing else
    payload, signature = (
        base64.b64decode(each.encode("ascii").translate(bytes.maketrans(b"-_", b"+/")), validate=True)
        for each in (found["payload"], found["signatures"][0]["sig"])
    )
    return found["payloadType"], payload, signature


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
ENTRIES = st.lists(
    st.dictionaries(st.sampled_from(["name", "digest", "uri", "properties", "hashes"]), SCALARS), max_size=3
)


@given(subjects=SCALARS | ENTRIES, listed=SCALARS | ENTRIES)
def test_whatever_was_signed_is_told_and_never_crashes(
    delivery: Path, tmp_path_factory: pytest.TempPathFactory, subjects: object, listed: object
) -> None:
    folder = tmp_path_factory.mktemp("signed")
    (folder / NAME).symlink_to(delivery)
    said = statement(delivery) | {"subject": subjects}
    (folder / ENVELOPE).write_bytes(sealed(json.dumps(said).encode(), KEY))
    (folder / BILL).write_text(json.dumps({"bomFormat": "CycloneDX", "components": listed}))
    delivered: Shipped = dataclasses.replace(shipped(delivery), archive=folder / NAME)
    assert {"provenance", "sbom"} <= {each.check for each in findings(delivered, KEY.public)}
