"""in-toto statements: what is said (a predicate) of which files (subjects), each known by its digests.

https://github.com/in-toto/attestation/tree/main/spec/v1
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...escaping import escape_hidden
from .dsse import Malformed, json_object

TYPE = "https://in-toto.io/Statement/v1"
MAX_SUBJECTS = 1_000_000
_HEX = re.compile(r"[0-9a-f]+")
_LENGTHS = {"sha256": 64, "sha512": 128}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A file, or what `uri` says it is. `digests` are hex by algorithm: ``sha256``, ``sha512``."""

    name: str
    digests: Mapping[str, str]
    uri: str = ""

    def to_json(self) -> dict[str, Any]:
        """A resource descriptor."""
        return {"name": self.name, "digest": dict(self.digests), **({"uri": self.uri} if self.uri else {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement as it was read."""

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, Any]


def statement(subjects: Iterable[Subject], predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """The statement as JSON: the same bytes for the same values, subjects sorted by their names."""
    made = {
        "_type": TYPE,
        "subject": [each.to_json() for each in sorted(subjects, key=lambda each: each.name)],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return (escape_hidden(json.dumps(made, indent=2, sort_keys=True, ensure_ascii=False)) + "\n").encode()


def read(data: bytes) -> Statement:
    """The statement in `data`. Raises Malformed: also for a subject that is named twice, or has no SHA-256."""
    found = json_object(data, "an in-toto statement")
    if found.get("_type") != TYPE:
        raise Malformed(f"is no in-toto statement of version 1: its _type is {_shown(found.get('_type'))}")
    subjects, predicate = found.get("subject"), found.get("predicate", {})
    if not isinstance(subjects, list) or not subjects:
        raise Malformed("has no subjects")
    if len(subjects) > MAX_SUBJECTS:
        raise Malformed(f"has more than {MAX_SUBJECTS} subjects")
    if not isinstance(found.get("predicateType"), str) or not isinstance(predicate, dict):
        raise Malformed("has no predicate with a type")
    read_subjects = tuple(_subject(each) for each in subjects)
    if len({each.name for each in read_subjects}) < len(read_subjects):
        raise Malformed("names a subject twice")
    return Statement(subjects=read_subjects, predicate_type=found["predicateType"], predicate=predicate)


def _subject(each: Any) -> Subject:
    if not isinstance(each, dict) or not isinstance(each.get("name"), str) or not each["name"]:
        raise Malformed("has a subject without a name")
    digests, uri = each.get("digest"), each.get("uri", "")
    if not isinstance(digests, dict) or not isinstance(uri, str):
        raise Malformed(f"has no digests for the subject {_shown(each['name'])}")
    for algorithm, length in _LENGTHS.items():
        value = digests.get(algorithm)
        if value is None and algorithm != "sha256":
            continue
        if not isinstance(value, str) or len(value) != length or _HEX.fullmatch(value) is None:
            raise Malformed(f"has no {algorithm} in hex for the subject {_shown(each['name'])}")
    known = {algorithm: digests[algorithm] for algorithm in _LENGTHS if algorithm in digests}
    return Subject(name=each["name"], digests=known, uri=uri)


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
