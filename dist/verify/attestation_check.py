"""Checks the attestations of an archive: signature, provenance and SBOM, each against the archive and its contents.

Works offline. Every error in the attestations becomes a finding; hostile bytes never raise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...output.package_layout import SBOM_ENDING, SIGNED_ENDING, UNSIGNED_ENDING
from ...spec.distribution import ChecksumAlgorithm
from ..archive import DIGEST_NAMES
from ..attest.dsse import PAYLOAD_TYPE, Envelope, Malformed, Verifier, parse_envelope
from ..attest.provenance import IMAGE_URI, PREDICATE_TYPE
from ..attest.statement import ATTESTED_ALGORITHMS, Statement, Subject, parse_statement
from .received_package import Check, CheckResult, ReceivedPackage, VerificationFinding, read_sidecar
from .sbom_check import sbom_findings

_PROVENANCE, _SIGNATURE = "provenance", "signature"
_UNSIGNED_FOLDER = VerificationFinding(
    check=_SIGNATURE,
    message="a directory has no signature: its files and its manifest can come from anyone",
    remediation="Verify the archive with --key, then unpack it.",
)


def signature_check(key: Verifier | None) -> Check:
    """Return the check with this public key. Without a key, the attestations that exist must match the archive, but
    anyone can have created them."""

    def check(package: ReceivedPackage) -> CheckResult:
        if not package.is_archive:
            summary = "not checked: only archives have attestations"
            return CheckResult(name=_PROVENANCE, summary=summary, findings=() if key is None else (_UNSIGNED_FOLDER,))
        present = [
            ending
            for ending in (SIGNED_ENDING, UNSIGNED_ENDING, SBOM_ENDING)
            if os.path.lexists(package.sidecar(ending))
        ]
        # an archive without attestations is complete; its SBOM is also inside
        findings = tuple(attestation_findings(package, key)) if present or key is not None else ()
        if key is not None:
            summary, is_stated = f"signed with the key {key.keyid}", True
        else:
            summary = f"found: {', '.join(present) or 'none'}; the signer is not checked without --key"
            is_stated = SIGNED_ENDING in present or UNSIGNED_ENDING in present
        return CheckResult(name=_PROVENANCE, summary=summary, findings=findings, proves=is_stated and not findings)

    return check


def attestation_findings(package: ReceivedPackage, key: Verifier | None) -> Iterator[VerificationFinding]:
    """Check all attestations. With a `key`, the provenance must exist and be signed with it; without one, the
    attestations that exist must be valid, signed or not. Raises OSError if the archive cannot be read."""
    statement, findings = _statement(package, key)
    yield from findings
    if statement is not None:
        yield from _subject_findings(package, statement)
    yield from sbom_findings(package, statement)


def _statement(
    package: ReceivedPackage, key: Verifier | None
) -> tuple[Statement | None, tuple[VerificationFinding, ...]]:
    """The statement of the provenance, if it exists and its signature is valid."""
    signed, unsigned = package.sidecar(SIGNED_ENDING), package.sidecar(UNSIGNED_ENDING)
    if key is not None and not signed.is_file():
        reason = f"{unsigned.name} has no signature" if unsigned.is_file() else "no provenance was found"
        return None, (_signature(f"the archive is not signed: {signed.name} is missing, and {reason}"),)
    path = signed if signed.is_file() else unsigned
    if not path.is_file():
        return None, ()
    try:
        data = read_sidecar(path)
        envelope = parse_envelope(data) if path == signed else None
    except Malformed as error:
        return None, (_signature(f"{path.name} {error}"),)
    if envelope is not None and (problem := _envelope_problem(envelope, key)) is not None:
        return None, (_signature(f"{path.name} {problem}"),)
    try:
        statement = parse_statement(data if envelope is None else envelope.payload)
    except Malformed as error:
        return None, (_provenance(f"the statement in {path.name} {error}"),)
    if statement.predicate_type != PREDICATE_TYPE:
        reason = f"expected the predicateType {PREDICATE_TYPE}, got {statement.predicate_type!a}"
        return None, (_provenance(f"{path.name} is not a SLSA provenance: {reason}"),)
    return statement, ()


def _envelope_problem(envelope: Envelope, key: Verifier | None) -> str | None:
    if envelope.payload_type != PAYLOAD_TYPE:
        return f"has the wrong payloadType: expected {PAYLOAD_TYPE}, got {envelope.payload_type!a}"
    if key is None or envelope.verified_by(key):
        return None
    keyids = {each.keyid for each in envelope.signatures if each.keyid}
    if key.keyid in keyids or not keyids:
        return f"was changed after it was signed: no signature is valid for the key {key.keyid}"
    return f"is signed with a different key: expected {key.keyid}, got {', '.join(sorted(map(ascii, keyids)))}"


def _subject_findings(package: ReceivedPackage, statement: Statement) -> Iterator[VerificationFinding]:
    """Check that the subjects are exactly the archive, its SBOM and all files in it; images are ignored."""
    subjects = {each.name: each for each in statement.subjects if not each.uri.startswith(IMAGE_URI)}
    yield from _archive_findings(package, subjects)
    subjects.pop(package.path.name, None)
    sbom = package.sidecar(SBOM_ENDING)
    if (subject := subjects.pop(sbom.name, None)) is not None:
        yield from _file_findings(package, sbom, subject)
    prefix = f"{package.top}/"
    for path, file in sorted(package.files.items()):
        subject = subjects.pop(f"{prefix}{path}", None)
        if subject is None:
            yield _provenance(f"{path!a} is in the archive but not in the provenance")
        elif subject.digests["sha256"] != file.sha256:
            yield _provenance(f"{path!a} differs from the provenance: its SHA-256 is {file.sha256}")
    for name in sorted(subjects):
        reason = "is not in the archive" if name.startswith(prefix) else "is not a file of this archive"
        yield _provenance(f"the provenance lists {name!a}, which {reason}")


def _archive_findings(package: ReceivedPackage, subjects: Mapping[str, Subject]) -> Iterator[VerificationFinding]:
    name, subject = package.path.name, subjects.get(package.path.name)
    if subject is not None:
        yield from _file_findings(package, package.path, subject)
        return
    digest = package.checksums(package.path, (ChecksumAlgorithm.SHA256,))[ChecksumAlgorithm.SHA256]
    other = next((each.name for each in subjects.values() if each.digests["sha256"] == digest), None)
    if other is None:
        yield _provenance(f"the provenance does not list the archive {name!a}")
    else:
        yield VerificationFinding(
            check=_PROVENANCE,
            message=f"the archive is named {name!a}, but the provenance lists it as {other!a}",
            remediation="Rename the archive, and the files next to it, to the names under which they were published.",
        )


def _file_findings(package: ReceivedPackage, path: Path, subject: Subject) -> Iterator[VerificationFinding]:
    if not path.is_file():
        yield _provenance(f"{path.name!a} is in the provenance but is missing")
        return
    algorithms = {DIGEST_NAMES[each]: each for each in ATTESTED_ALGORITHMS}
    digests = package.checksums(path, algorithms.values())
    for name, digest in subject.digests.items():
        if digests[algorithms[name]] != digest:
            yield _provenance(f"{path.name!a} differs from the provenance: its {name} is {digests[algorithms[name]]}")


def _provenance(message: str) -> VerificationFinding:
    return VerificationFinding(check=_PROVENANCE, message=message)


def _signature(message: str) -> VerificationFinding:
    return VerificationFinding(check=_SIGNATURE, message=message)
