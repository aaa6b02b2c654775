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

from portalis.digests import FileDigest
from portalis.dist.attest.dsse import create_envelope
from portalis.dist.attest.keys import generate_key
from portalis.dist.verify.attestation_check import attestation_findings, signature_check
from portalis.dist.verify.received_package import ReceivedPackage
from tests.dist.conftest import MODULE, Package
from tests.dist.shipping import KEY, NAME, findings, received, signed

ENVELOPE, SBOM, UNSIGNED = (f"{NAME}.{ending}" for ending in ("intoto.jsonl", "sbom.cdx.json", "provenance.json"))


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
    archive.with_name(ENVELOPE).write_bytes(create_envelope(json.dumps(said).encode(), KEY, **options))


def messages(archive: Path, key: object = KEY) -> list[str]:
    told = findings(archive, key)  # type: ignore[arg-type]
    assert all(each.remediation for each in told)
    return [f"{each.check}: {each.message}" for each in told]


def subject(said: dict[str, Any], name: str) -> dict[str, Any]:
    (one,) = (each for each in said["subject"] if each["name"] == name)
    found_one: dict[str, Any] = one
    return found_one


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256"])
def test_what_was_signed_is_found_right(package: Package, algorithm: str) -> None:
    key = generate_key(algorithm)
    archive = signed(package, key)
    assert findings(archive, key) == [] and findings(archive, None) == []
    names = {each.name for each in archive.parent.iterdir()}
    assert {ENVELOPE, SBOM} < names and UNSIGNED not in names


def test_unsigned_provenance_is_checked_but_does_not_do_where_a_key_is_given(package: Package) -> None:
    archive = signed(package, None)
    assert findings(archive, None) == []
    assert messages(archive) == [
        f"signature: the archive is not signed: {ENVELOPE} is missing, and {UNSIGNED} has no signature",
    ]
    archive.with_name(UNSIGNED).unlink()
    assert messages(archive) == [
        f"signature: the archive is not signed: {ENVELOPE} is missing, and no provenance was found",
    ]


def test_another_key_is_named(archive: Path) -> None:
    other = generate_key("ed25519")
    assert messages(archive, other) == [
        f"signature: {ENVELOPE} is signed with a different key: expected {other.public.keyid}, got {KEY.public.keyid!r}"
    ]


def test_a_changed_payload_is_told(archive: Path) -> None:
    said = statement(archive)
    said["predicate"]["runDetails"]["builder"]["id"] = "https://someone.else.example"
    spoiled = envelope(archive) | {"payload": base64.b64encode(json.dumps(said).encode()).decode()}
    archive.with_name(ENVELOPE).write_text(json.dumps(spoiled))
    (message,) = messages(archive)
    assert message.startswith(f"signature: {ENVELOPE} was changed after it was signed")
    assert findings(archive, None) == []  # without a key nobody can tell


def test_a_signature_of_an_attacker_under_our_keyid_is_told(archive: Path) -> None:
    forged = json.loads(create_envelope(base64.b64decode(envelope(archive)["payload"]), generate_key("ed25519")))
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
    assert "has the wrong payloadType" in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda said: said.update(predicateType="https://example.com/other"),
            "got 'https://example.com/other'",
        ),
        (lambda said: said.update(_type="x"), "is not an in-toto statement of version 1"),
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
    digest = received(archive).files["manifest.json"].sha256
    sha512 = hashlib.sha512(archive.read_bytes()).hexdigest()
    assert messages(archive) == [
        f"provenance: {NAME!r} differs from the provenance: its sha512 is {sha512}",
        "provenance: 'README.md' is in the archive but not in the provenance",
        f"provenance: 'manifest.json' differs from the provenance: its SHA-256 is {digest}",
        "provenance: the provenance lists 'demo-1.2.3/more', which is not in the archive",
        "provenance: the provenance lists 'elsewhere', which is not a file of this archive",
    ]


def test_an_archive_that_was_repacked_is_told(archive: Path) -> None:
    delivered = received(archive)
    archive.write_bytes(archive.read_bytes() + b"\0")
    told = list(attestation_findings(delivered, KEY.public))
    assert [each.message.rsplit(" ", 3)[1] for each in told] == ["sha256", "sha512"]
    spoiled = dataclasses.replace(
        delivered, files={**delivered.files, "wasm/gelu.wasm": FileDigest(size_bytes=1, sha256="5" * 64)}
    )
    checks = {each.check for each in attestation_findings(spoiled, KEY.public)}
    assert checks == {"provenance", "sbom"}


def test_a_renamed_archive_is_told(archive: Path) -> None:
    for path in list(archive.parent.iterdir()):
        path.rename(path.with_name(path.name.replace(NAME, "other.tar.gz")))
    told = messages(archive.with_name("other.tar.gz"))
    assert f"provenance: the archive is named 'other.tar.gz', but the provenance lists it as {NAME!r}" in told


def test_an_archive_that_the_provenance_does_not_list_is_a_finding(archive: Path) -> None:
    resign(archive, lambda said: said["subject"].remove(subject(said, NAME)))
    assert messages(archive) == [f"provenance: the provenance does not list the archive {NAME!r}"]


def test_an_unreadable_envelope_is_a_finding(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, mode: str) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    package = received(archive)
    monkeypatch.setattr(Path, "open", denied)
    first = next(attestation_findings(package, KEY.public))
    assert first.message == f"{ENVELOPE} cannot be read: Permission denied"


def test_a_directory_has_no_signature(tmp_path: Path) -> None:
    folder = ReceivedPackage(path=tmp_path, is_archive=False, top="", files={}, kept={}, digests={}, is_complete=True)
    assert signature_check(None)(folder).findings == ()
    (finding,) = signature_check(KEY.public)(folder).findings
    assert finding.check == "signature" and "--key" in finding.remediation


def test_an_archive_without_attestations_is_verified_unless_a_key_is_passed(package: Package) -> None:
    package.configure(sbom=False, provenance=False)
    archive = signed(package, None)
    assert findings(archive, None) == [] and len(findings(archive)) == 1


def test_a_lost_sbom_is_told(archive: Path) -> None:
    archive.with_name(SBOM).unlink()
    assert messages(archive) == [f"provenance: {SBOM!r} is in the provenance but is missing"]
    archive.with_name(ENVELOPE).unlink()
    assert messages(archive, None) == [f"sbom: {SBOM} is missing, but the archive contains an SBOM"]


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
        (components(lambda c: c.remove(gelu(c))), "the module 'wasm/gelu.wasm' is in the archive but not in the SBOM"),
        (
            components(lambda c: c.append(json.loads(json.dumps(gelu(c)).replace("wasm/gelu", "wasm/x")))),
            "'wasm/x.wasm'",
        ),
        (components(lambda c: gelu(c).update(hashes=[])), "differs from the SBOM: its SHA-256 is"),
        (
            components(lambda c: gelu(c).update(hashes=[1, {"alg": "SHA-256", "content": 1}], properties=3)),
            "not in the SBOM",
        ),
        (lambda data: data[:-9], "is not an SBOM: it is not valid JSON"),
        (lambda data: b'{"bomFormat": "SPDX"}', "is not a CycloneDX document"),
        (lambda data: b'{"bomFormat": "CycloneDX", "components": 5}', "not in the SBOM"),
    ],
)
def test_an_sbom_that_says_something_else_is_told(archive: Path, spoil: Callable[[bytes], bytes], said: str) -> None:
    archive.with_name(ENVELOPE).unlink()
    sbom = archive.with_name(SBOM)
    sbom.write_bytes(spoil(sbom.read_bytes()))
    told = messages(archive, None)
    assert told[0] == f"sbom: {SBOM} differs from the SBOM in the archive"
    assert len(told) == 2 and said in told[1]


def test_a_module_that_is_another_is_told_by_provenance_and_sbom(archive: Path) -> None:
    delivered = received(archive)
    digest = hashlib.sha256(MODULE.read_bytes() + b"\0").hexdigest()
    spoiled = dataclasses.replace(
        delivered, files={**delivered.files, "wasm/gelu.wasm": FileDigest(size_bytes=1, sha256=digest)}
    )
    told = [each.message for each in attestation_findings(spoiled, KEY.public)]
    assert len(told) == 2 and all("'wasm/gelu.wasm' differs from the" in each for each in told)


@given(data=st.data())
def test_no_change_of_an_envelope_passes_or_crashes(
    delivery: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    original = delivery.with_name(ENVELOPE).read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    cut = data.draw(st.integers(0, 4))
    spoiled = original[:at] + data.draw(st.binary(max_size=4)) + original[at + cut :]
    delivered = received(delivery)
    folder = tmp_path_factory.mktemp("fuzzed")
    for name in (NAME, SBOM):
        (folder / name).symlink_to(delivery.with_name(name))
    (folder / ENVELOPE).write_bytes(spoiled)
    told = list(attestation_findings(dataclasses.replace(delivered, path=folder / NAME), KEY.public))
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
    (folder / ENVELOPE).write_bytes(create_envelope(json.dumps(said).encode(), KEY))
    (folder / SBOM).write_text(json.dumps({"bomFormat": "CycloneDX", "components": listed}))
    delivered: ReceivedPackage = dataclasses.replace(received(delivery), path=folder / NAME)
    assert {"provenance", "sbom"} <= {each.check for each in attestation_findings(delivered, KEY.public)}
