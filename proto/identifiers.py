"""Identifiers of Protocol Buffers and OpenAPI for arbitrary names: a name always gets the same identifier.

A name that is a valid identifier is not changed. Otherwise the invalid characters are replaced, and a part of the
name's hash is appended, so that the identifier does not depend on the other names of the package.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

# the language's `ident`, which begins with a letter
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_MAX_LENGTH = 128  # longer names are truncated; their hashes keep them distinct
_HASH_DIGITS = 8


def identifier(name: str) -> str:
    """`name` as an identifier: for example ``x`` for "x", and ``a_b_43e2bd58`` for "a-b"."""
    return name if _IDENTIFIER.fullmatch(name) and len(name) <= _MAX_LENGTH else _hashed(name)


def proto_identifiers(names: Iterable[str]) -> dict[str, str]:
    """Each name with its identifier.

    Names that differ only in case and underscores get hashes too: in JSON, both are dropped from field names, and
    protoc rejects fields that have the same name there.
    """
    unique = list(dict.fromkeys(names))
    counts = Counter(_json_name(identifier(name)) for name in unique)
    return {name: identifier(name) if counts[_json_name(identifier(name))] == 1 else _hashed(name) for name in unique}


def type_names(names: Iterable[str]) -> dict[str, str]:
    """Each name with an identifier for a message type, for example ``ImageNorm`` for "image_norm"."""
    return {name: _camel_case(each) for name, each in proto_identifiers(names).items()}


def _hashed(name: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9]+", "_", name)[:_MAX_LENGTH].strip("_")
    if not readable or readable[0].isdigit():
        readable = f"x_{readable}".strip("_")
    return f"{readable}_{hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]}"


def _json_name(name: str) -> str:
    return name.replace("_", "").lower()


def _camel_case(name: str) -> str:
    # `proto_identifiers` guarantees that names differ without their underscores
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
