"""Checks what goes along with an archive: signature, provenance and SBOM, each against the archive and its contents.

Works offline. Whatever is wrong becomes a `Finding`; hostile bytes never raise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..spec.distribution import ChecksumAlgorithm
from .checksums import checksums
from .contents import WASM
from .papers import SBOM, SIGNED, UNSIGNED
from .provenance import IMAGE_URI, PREDICATE_TYPE
from .signing.dsse import MAX_BYTES, PAYLOAD_TYPE, Envelope, Malformed, Verifier, json_object, opened
from .statement import Statement, Subject, read

_AGAIN = "Get the archive and the files beside it again, from where they were published."
_KIND, _PATH = "portalis:kind", "portalis:path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: `check` is ``signature``, ``provenance`` or ``sbom``."""

    check: str
    message: str
    remediation: str = _AGAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """What was delivered: an archive, and the SHA-256 (hex) of each of its files, by paths below its folder `top`."""

    archive: Path
    top: str
    contents: Mapping[str, str]

    def beside(self, ending: str) -> Path:
        """A file that belongs to the archive."""
        return self.archive.with_name(f"{self.archive.name}.{ending}")


def findings(shipped: Shipped, key: Verifier | None) -> Iterator[Finding]:
    """Everything that is wrong. With a `key` there has to be provenance that it has signed; without one what there is
    has to be right all the same, signed or not. Raises OSError where the archive cannot be read."""
    said, found = _statement(shipped, key)
    yield from found
    if said is not None:
        yield from _subjects(shipped, said)
    yield from _sbom(shipped, said)


def _statement(shipped: Shipped, key: Verifier | None) -> tuple[Statement | None, list[Finding]]:
    """What the provenance says, where it may be believed."""
    signed, unsigned = shipped.beside(SIGNED), shipped.beside(UNSIGNED)
    if key is not None and not signed.is_file():
        what = f"{unsigned.name} is not signed" if unsigned.is_file() else "there is no provenance"
        message = f"nothing is signed: {signed.name} is not there, and {what}"
        return None, [Finding(check="signature", message=message)]
    path = signed if signed.is_file() else unsigned
    if not path.is_file():
        return None, []
    try:
        data = _data(path)
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
    bill = shipped.beside(SBOM)
    if (subject := subjects.pop(bill.name, None)) is not None:
        yield from _file(bill, subject)
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
        yield from _file(shipped.archive, subject)
        return
    digest = checksums(shipped.archive, (ChecksumAlgorithm.SHA256,))[ChecksumAlgorithm.SHA256]
    other = next((each.name for each in subjects.values() if each.digests["sha256"] == digest), None)
    if other is None:
        yield _provenance(f"the provenance does not name the archive {name!a}")
    else:
        yield Finding(
            check="provenance",
            message=f"the provenance names this archive {other!a}, and it is called {name!a}",
            remediation="Give the archive, and the files beside it, the names that they were published under.",
        )


def _file(path: Path, subject: Subject) -> Iterator[Finding]:
    if not path.is_file():
        yield _provenance(f"{path.name!a} is not there, and the provenance names it")
        return
    algorithms = {"sha256": ChecksumAlgorithm.SHA256, "sha512": ChecksumAlgorithm.SHA512}
    found = checksums(path, algorithms.values())
    for name, digest in subject.digests.items():
        if found[algorithms[name]] != digest:
            yield _provenance(f"{path.name!a} is not the file that the provenance names: its {name} differs")


def _sbom(shipped: Shipped, said: Statement | None) -> Iterator[Finding]:
    """The SBOM beside the archive is the one in it, and names the modules that are there."""
    bill, inside = shipped.beside(SBOM), shipped.contents.get(SBOM)
    if not bill.is_file():
        if inside is not None and (said is None or bill.name not in {each.name for each in said.subjects}):
            yield _bill(f"{bill.name} is not there, and the archive holds an SBOM")
        return
    digest = checksums(bill, (ChecksumAlgorithm.SHA256,))[ChecksumAlgorithm.SHA256]
    if digest != inside:
        yield _bill(f"{bill.name} is not the SBOM in the archive")
    try:
        listed = _modules(json_object(_data(bill), "an SBOM"))
    except Malformed as error:
        yield _bill(f"{bill.name} {error}")
        return
    modules = {path: digest for path, digest in shipped.contents.items() if PurePosixPath(path).parts[0] == WASM}
    for path in sorted({*modules, *listed}):
        if path not in listed:
            yield _bill(f"the module {path!a} is in the archive, and not in the SBOM")
        elif path not in modules:
            yield _bill(f"the SBOM lists the module {path!a}, which is not in the archive")
        elif modules[path] not in listed[path]:
            yield _bill(f"the module {path!a} is not the one that the SBOM lists: its SHA-256 is {modules[path]}")


def _modules(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """The SHA-256 digests of the modules in an SBOM, by their paths in the archive."""
    if document.get("bomFormat") != "CycloneDX":
        raise Malformed("is no CycloneDX document")
    found: dict[str, list[str]] = {}
    for component in _tables(document.get("components")):
        told = {each.get("name"): each.get("value") for each in _named(component.get("properties"))}
        path = told.get(_PATH)
        if told.get(_KIND) == "module" and isinstance(path, str):
            hashes = [each.get("content") for each in _tables(component.get("hashes")) if each.get("alg") == "SHA-256"]
            found.setdefault(path, []).extend(each for each in hashes if isinstance(each, str))
    return found


def _named(value: Any) -> list[dict[str, Any]]:
    return [each for each in _tables(value) if isinstance(each.get("name"), str)]


def _tables(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _data(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)  # one more than is taken: it is told, and not read further
    except OSError as error:
        raise Malformed(f"cannot be read: {error.strerror or error}") from None


def _provenance(message: str) -> Finding:
    return Finding(check="provenance", message=message)


def _bill(message: str) -> Finding:
    return Finding(check="sbom", message=message)
