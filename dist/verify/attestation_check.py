"""Checks what goes along with an archive: signature, provenance and SBOM, each against the archive and its contents.

Works offline. Whatever is wrong becomes a `Finding`; hostile bytes never raise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ...output.package_layout import SBOM_ENDING, SIGNED_ENDING, UNSIGNED_ENDING
from ...spec.distribution import ChecksumAlgorithm
from ..attest.dsse import PAYLOAD_TYPE, Envelope, Malformed, Verifier, opened
from ..attest.provenance import IMAGE_URI, PREDICATE_TYPE
from ..attest.statement import Statement, Subject, read
from .sbom_check import sbom_findings
from .shipped import Finding, Shipped, data_of


def findings(shipped: Shipped, key: Verifier | None) -> Iterator[Finding]:
    """Everything that is wrong. With a `key` there has to be provenance that it has signed; without one what there is
    has to be right all the same, signed or not. Raises OSError where the archive cannot be read."""
    said, found = _statement(shipped, key)
    yield from found
    if said is not None:
        yield from _subjects(shipped, said)
    yield from sbom_findings(shipped, said)


def _statement(shipped: Shipped, key: Verifier | None) -> tuple[Statement | None, list[Finding]]:
    """What the provenance says, where it may be believed."""
    signed, unsigned = shipped.beside(SIGNED_ENDING), shipped.beside(UNSIGNED_ENDING)
    if key is not None and not signed.is_file():
        what = f"{unsigned.name} is not signed" if unsigned.is_file() else "there is no provenance"
        message = f"nothing is signed: {signed.name} is not there, and {what}"
        return None, [Finding(check="signature", message=message)]
    path = signed if signed.is_file() else unsigned
    if not path.is_file():
        return None, []
    try:
        data = data_of(path)
        envelope = opened(data) if path == signed else None
    except Malformed as error:
        return None, [Finding(check="signature", message=f"{path.name} {error}")]
    if envelope is not None and (wrong := _envelope_trouble(envelope, key)) is not None:
        return None, [Finding(check="signature", message=f"{path.name} {wrong}")]
    try:
        said = read(data if envelope is None else envelope.payload)
    except Malformed as error:
        return None, [Finding(check="provenance", message=f"the statement in {path.name} {error}")]
    if said.predicate_type != PREDICATE_TYPE:
        message = f"{path.name} says {said.predicate_type!a} of the archive, and not {PREDICATE_TYPE}"
        return None, [Finding(check="provenance", message=message)]
    return said, []


def _envelope_trouble(envelope: Envelope, key: Verifier | None) -> str | None:
    if envelope.payload_type != PAYLOAD_TYPE:
        return f"has a payload of the type {envelope.payload_type!a}, and not {PAYLOAD_TYPE}"
    if key is None or envelope.verified_by(key):
        return None
    named = {each.keyid for each in envelope.signatures if each.keyid}
    if key.keyid in named or not named:
        return f"was changed after it was signed: no signature is right for the key {key.keyid}"
    return f"is signed with another key: {', '.join(sorted(ascii(each) for each in named))}, and not {key.keyid}"


def _subjects(shipped: Shipped, said: Statement) -> Iterator[Finding]:
    """The archive, what lies beside it, and all that is in it are what was attested, no more and no less."""
    subjects = {each.name: each for each in said.subjects if not each.uri.startswith(IMAGE_URI)}
    yield from _archive(shipped, subjects)
    subjects.pop(shipped.archive.name, None)
    bill = shipped.beside(SBOM_ENDING)
    if (subject := subjects.pop(bill.name, None)) is not None:
        yield from _file(shipped, bill, subject)
    prefix = f"{shipped.top}/"
    for path, digest in sorted(shipped.contents.items()):
        subject = subjects.pop(f"{prefix}{path}", None)
        if subject is None:
            yield _provenance(f"{path!a} is in the archive, and the provenance does not name it")
        elif subject.digests["sha256"] != digest:
            yield _provenance(f"{path!a} is not the file that the provenance names: its SHA-256 is {digest}")
    for name in sorted(subjects):
        what = "is not in the archive" if name.startswith(prefix) else "is no file of this archive"
        yield _provenance(f"the provenance names {name!a}, which {what}")


def _archive(shipped: Shipped, subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    name, subject = shipped.archive.name, subjects.get(shipped.archive.name)
    if subject is not None:
        yield from _file(shipped, shipped.archive, subject)
        return
    digest = shipped.checksums(shipped.archive, (ChecksumAlgorithm.SHA256,))[ChecksumAlgorithm.SHA256]
    other = next((each.name for each in subjects.values() if each.digests["sha256"] == digest), None)
    if other is None:
        yield _provenance(f"the provenance does not name the archive {name!a}")
    else:
        yield Finding(
            check="provenance",
            message=f"the provenance names this archive {other!a}, and it is called {name!a}",
            remediation="Give the archive, and the files beside it, the names that they were published under.",
        )


def _file(shipped: Shipped, path: Path, subject: Subject) -> Iterator[Finding]:
    if not path.is_file():
        yield _provenance(f"{path.name!a} is not there, and the provenance names it")
        return
    algorithms = {"sha256": ChecksumAlgorithm.SHA256, "sha512": ChecksumAlgorithm.SHA512}
    found = shipped.checksums(path, algorithms.values())
    for name, digest in subject.digests.items():
        if found[algorithms[name]] != digest:
            yield _provenance(f"{path.name!a} is not the file that the provenance names: its {name} differs")


def _provenance(message: str) -> Finding:
    return Finding(check="provenance", message=message)
