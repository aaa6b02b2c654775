"""Checks of signature, provenance and SBOM of an archive: one finding for each difference."""

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
def signed_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed(Package(tmp_path_factory.mktemp("signed_archive")))


@pytest.fixture
def archive(signed_archive: Path, tmp_path: Path) -> Path:
    """A copy that a test can modify."""
    for path in signed_archive.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / NAME


def envelope(archive: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((archive.with_name(ENVELOPE)).read_bytes())
    return document


def statement(archive: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(base64.b64decode(envelope(archive)["payload"]))
    return document


def resign(archive: Path, change: Callable[[dict[str, Any]], object], **options: str) -> None:
    """Sign a modified statement with the right key."""
    document = statement(archive)
    change(document)
    archive.with_name(ENVELOPE).write_bytes(create_envelope(json.dumps(document).encode(), KEY, **options))


def messages(archive: Path, key: object = KEY) -> list[str]:
    found = findings(archive, key)  # type: ignore[arg-type]
    assert all(each.remediation for each in found)
    return [f"{each.check}: {each.message}" for each in found]


def subject(document: dict[str, Any], name: str) -> dict[str, Any]:
    (one,) = (each for each in document["subject"] if each["name"] == name)
    found_one: dict[str, Any] = one
    return found_one


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256"])
def test_a_signed_archive_has_no_findings(package: Package, algorithm: str) -> None:
    key = generate_key(algorithm)
    archive = signed(package, key)
    assert findings(archive, key) == [] and findings(archive, None) == []
    names = {each.name for each in archive.parent.iterdir()}
    assert {ENVELOPE, SBOM} < names and UNSIGNED not in names


def test_unsigned_provenance_is_checked_but_not_enough_if_a_key_is_passed(package: Package) -> None:
    archive = signed(package, None)
    assert findings(archive, None) == []
    assert messages(archive) == [
        f"signature: the archive is not signed: {ENVELOPE} is missing, and {UNSIGNED} has no signature",
    ]
    archive.with_name(UNSIGNED).unlink()
    assert messages(archive) == [
        f"signature: the archive is not signed: {ENVELOPE} is missing, and no provenance was found",
    ]


def test_a_different_key_is_a_finding_with_both_key_ids(archive: Path) -> None:
    other = generate_key("ed25519")
    assert messages(archive, other) == [
        f"signature: {ENVELOPE} is signed with a different key: expected {other.public.keyid}, got {KEY.public.keyid!r}"
    ]


def test_a_changed_payload_is_a_finding(archive: Path) -> None:
    document = statement(archive)
    document["predicate"]["runDetails"]["builder"]["id"] = "https://someone.else.example"
    changed = envelope(archive) | {"payload": base64.b64encode(json.dumps(document).encode()).decode()}
    archive.with_name(ENVELOPE).write_text(json.dumps(changed))
    (message,) = messages(archive)
    assert message.startswith(f"signature: {ENVELOPE} was changed after it was signed")
    assert findings(archive, None) == []  # without a key, the change cannot be detected


def test_a_signature_of_a_different_key_under_the_same_keyid_is_a_finding(archive: Path) -> None:
    forged = json.loads(create_envelope(base64.b64decode(envelope(archive)["payload"]), generate_key("ed25519")))
    forged["signatures"][0]["keyid"] = KEY.public.keyid
    archive.with_name(ENVELOPE).write_text(json.dumps(forged))
    (message,) = messages(archive)
    assert "was changed after it was signed" in message


@pytest.mark.parametrize("keep", [0, 1, 100, -3])
def test_a_truncated_envelope_is_a_finding(archive: Path, keep: int) -> None:
    path = archive.with_name(ENVELOPE)
    path.write_bytes(path.read_bytes()[:keep])
    (message,) = messages(archive)
    assert message.startswith(f"signature: {ENVELOPE} is not a DSSE envelope")


def test_a_signed_payload_of_a_different_type_is_a_finding(archive: Path) -> None:
    resign(archive, lambda document: None, payload_type="application/json")
    (message,) = messages(archive)
    assert "has the wrong payloadType" in message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda document: document.update(predicateType="https://example.com/other"),
            "got 'https://example.com/other'",
        ),
        (lambda document: document.update(_type="x"), "is not an in-toto statement of version 1"),
        (lambda document: document.update(subject=[]), "has no subjects"),
    ],
)
def test_a_statement_that_is_not_a_provenance_is_a_finding(
    archive: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    resign(archive, change)
    (message,) = messages(archive)
    assert message.startswith("provenance: ") and reason in message


def test_every_extra_missing_or_different_subject_is_a_finding(archive: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["subject"].remove(subject(document, "demo-1.2.3/README.md"))
        subject(document, "demo-1.2.3/manifest.json")["digest"]["sha256"] = "1" * 64
        subject(document, NAME)["digest"]["sha512"] = "2" * 128
        document["subject"].append({"name": "demo-1.2.3/more", "digest": {"sha256": "3" * 64}})
        document["subject"].append({"name": "elsewhere", "digest": {"sha256": "4" * 64}})

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


def test_a_repacked_archive_is_a_finding(archive: Path) -> None:
    package = received(archive)
    archive.write_bytes(archive.read_bytes() + b"\0")
    found = list(attestation_findings(package, KEY.public))
    assert [each.message.rsplit(" ", 3)[1] for each in found] == ["sha256", "sha512"]
    changed = dataclasses.replace(
        package, files={**package.files, "wasm/gelu.wasm": FileDigest(size_bytes=1, sha256="5" * 64)}
    )
    checks = {each.check for each in attestation_findings(changed, KEY.public)}
    assert checks == {"provenance", "sbom"}


def test_a_renamed_archive_is_a_finding(archive: Path) -> None:
    for path in list(archive.parent.iterdir()):
        path.rename(path.with_name(path.name.replace(NAME, "other.tar.gz")))
    found = messages(archive.with_name("other.tar.gz"))
    assert f"provenance: the archive is named 'other.tar.gz', but the provenance lists it as {NAME!r}" in found


def test_an_archive_that_the_provenance_does_not_list_is_a_finding(archive: Path) -> None:
    resign(archive, lambda document: document["subject"].remove(subject(document, NAME)))
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


def test_a_missing_sbom_is_a_finding(archive: Path) -> None:
    archive.with_name(SBOM).unlink()
    assert messages(archive) == [f"provenance: {SBOM!r} is in the provenance but is missing"]
    archive.with_name(ENVELOPE).unlink()
    assert messages(archive, None) == [f"sbom: {SBOM} is missing, but the archive contains an SBOM"]


def edit_components(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        document = json.loads(data)
        change(document["components"])
        return json.dumps(document).encode()

    return changed


def gelu(found_components: list[dict[str, Any]]) -> dict[str, Any]:
    (one,) = (each for each in found_components if each["bom-ref"] == "module:gelu")
    return one


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            edit_components(lambda c: c.remove(gelu(c))),
            "the module 'wasm/gelu.wasm' is in the archive but not in the SBOM",
        ),
        (
            edit_components(lambda c: c.append(json.loads(json.dumps(gelu(c)).replace("wasm/gelu", "wasm/x")))),
            "'wasm/x.wasm'",
        ),
        (edit_components(lambda c: gelu(c).update(hashes=[])), "differs from the SBOM: its SHA-256 is"),
        (
            edit_components(lambda c: gelu(c).update(hashes=[1, {"alg": "SHA-256", "content": 1}], properties=3)),
            "not in the SBOM",
        ),
        (lambda data: data[:-9], "is not an SBOM: it is not valid JSON"),
        (lambda data: b'{"bomFormat": "SPDX"}', "is not a CycloneDX document"),
        (lambda data: b'{"bomFormat": "CycloneDX", "components": 5}', "not in the SBOM"),
    ],
)
def test_an_sbom_that_differs_from_the_archive_is_a_finding(
    archive: Path, change: Callable[[bytes], bytes], reason: str
) -> None:
    archive.with_name(ENVELOPE).unlink()
    sbom = archive.with_name(SBOM)
    sbom.write_bytes(change(sbom.read_bytes()))
    found = messages(archive, None)
    assert found[0] == f"sbom: {SBOM} differs from the SBOM in the archive"
    assert len(found) == 2 and reason in found[1]


def test_a_replaced_module_is_a_finding_of_provenance_and_sbom(archive: Path) -> None:
    package = received(archive)
    digest = hashlib.sha256(MODULE.read_bytes() + b"\0").hexdigest()
    changed = dataclasses.replace(
        package, files={**package.files, "wasm/gelu.wasm": FileDigest(size_bytes=1, sha256=digest)}
    )
    found = [each.message for each in attestation_findings(changed, KEY.public)]
    assert len(found) == 2 and all("'wasm/gelu.wasm' differs from the" in each for each in found)


@given(data=st.data())
def test_a_changed_envelope_is_a_finding_and_never_crashes(
    signed_archive: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    original = signed_archive.with_name(ENVELOPE).read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    cut = data.draw(st.integers(0, 4))
    changed = original[:at] + data.draw(st.binary(max_size=4)) + original[at + cut :]
    package = received(signed_archive)
    folder = tmp_path_factory.mktemp("fuzzed")
    for name in (NAME, SBOM):
        (folder / name).symlink_to(signed_archive.with_name(name))
    (folder / ENVELOPE).write_bytes(changed)
    found = list(attestation_findings(dataclasses.replace(package, path=folder / NAME), KEY.public))
    if _is_equivalent(changed, original):
        assert found == []
    else:
        assert [each.check for each in found] == ["signature"]


def _is_equivalent(changed: bytes, original: bytes) -> bool:
    """Whether the significant parts are unchanged; key IDs and white space are not significant."""
    try:
        return _significant_parts(changed) == _significant_parts(original)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return False


def _significant_parts(data: bytes) -> tuple[str, bytes, bytes]:
    found = json.loads(data.decode("utf-8-sig"))
    # strict base64 with either alphabet
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
def test_signed_nonsense_is_a_finding_and_never_crashes(
    signed_archive: Path, tmp_path_factory: pytest.TempPathFactory, subjects: object, listed: object
) -> None:
    folder = tmp_path_factory.mktemp("signed")
    (folder / NAME).symlink_to(signed_archive)
    document = statement(signed_archive) | {"subject": subjects}
    (folder / ENVELOPE).write_bytes(create_envelope(json.dumps(document).encode(), KEY))
    (folder / SBOM).write_text(json.dumps({"bomFormat": "CycloneDX", "components": listed}))
    package: ReceivedPackage = dataclasses.replace(received(signed_archive), path=folder / NAME)
    assert {"provenance", "sbom"} <= {each.check for each in attestation_findings(package, KEY.public)}
