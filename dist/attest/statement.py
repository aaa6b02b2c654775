"""In-toto statements: a predicate about files (subjects), each identified by its digests.

https://github.com/in-toto/attestation/tree/main/spec/v1
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...escaping import escape_hidden
from ...spec.distribution import ChecksumAlgorithm
from .dsse import Malformed, parse_json_object

# the digests of the archive in its provenance
ATTESTED_ALGORITHMS = (ChecksumAlgorithm.SHA256, ChecksumAlgorithm.SHA512)
TYPE = "https://in-toto.io/Statement/v1"
MAX_SUBJECTS = 1_000_000
_HEX = re.compile(r"[0-9a-f]+")
_HEX_LENGTHS = {"sha256": 64, "sha512": 128}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A file, or the resource that `uri` names. `digests` are in hex by algorithm: ``sha256``, ``sha512``."""

    name: str
    digests: Mapping[str, str]
    uri: str = ""

    def to_json(self) -> dict[str, Any]:
        """Convert to a resource descriptor."""
        return {"name": self.name, "digest": dict(self.digests), **({"uri": self.uri} if self.uri else {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A parsed statement."""

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, Any]


def encode_statement(subjects: Iterable[Subject], predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """Encode a statement as JSON, subjects sorted by name: the same values give the same bytes."""
    document = {
        "_type": TYPE,
        "subject": [each.to_json() for each in sorted(subjects, key=lambda each: each.name)],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return (escape_hidden(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)) + "\n").encode()


def parse_statement(data: bytes) -> Statement:
    """Parse a statement. Raises Malformed, also for a duplicate subject and for a subject without SHA-256."""
    document = parse_json_object(data, "an in-toto statement")
    if document.get("_type") != TYPE:
        raise Malformed(f"is not an in-toto statement of version 1: its _type is {_quoted(document.get('_type'))}")
    subjects, predicate = document.get("subject"), document.get("predicate", {})
    if not isinstance(subjects, list) or not subjects:
        raise Malformed("has no subjects")
    if len(subjects) > MAX_SUBJECTS:
        raise Malformed(f"has more than {MAX_SUBJECTS} subjects")
    if not isinstance(document.get("predicateType"), str) or not isinstance(predicate, dict):
        raise Malformed("has no predicateType, or its predicate is not an object")
    parsed = tuple(_subject(each) for each in subjects)
    if len({each.name for each in parsed}) < len(parsed):
        raise Malformed("has two subjects with the same name")
    return Statement(subjects=parsed, predicate_type=document["predicateType"], predicate=predicate)


def _subject(value: Any) -> Subject:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"]:
        raise Malformed("has a subject without a name")
    digests, uri = value.get("digest"), value.get("uri", "")
    if not isinstance(digests, dict) or not isinstance(uri, str):
        raise Malformed(f"has no digests for the subject {_quoted(value['name'])}")
    for algorithm, length in _HEX_LENGTHS.items():
        digest = digests.get(algorithm)
        if digest is None and algorithm != "sha256":
            continue
        if not isinstance(digest, str) or len(digest) != length or _HEX.fullmatch(digest) is None:
            raise Malformed(f"has no {algorithm} digest in hex for the subject {_quoted(value['name'])}")
    supported = {algorithm: digests[algorithm] for algorithm in _HEX_LENGTHS if algorithm in digests}
    return Subject(name=value["name"], digests=supported, uri=uri)


def _quoted(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
