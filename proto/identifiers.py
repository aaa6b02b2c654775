"""Names that others chose as identifiers of Protocol Buffers and OpenAPI: a name always becomes the same identifier.

A name that is an identifier stays as it is. Another one loses what an identifier cannot have, and gets a part of its
hash behind it, so that no other name of the package decides what it is called.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

# the language's `ident`, which begins with a letter
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_MOST = 128  # of a name; longer ones are cut, and told apart by their hash
_HASH = 8


def identifier(name: str) -> str:
    """`name` as an identifier, such as ``x`` for "x" and ``a_b_43e2bd58`` for "a-b"."""
    return name if _IDENTIFIER.fullmatch(name) and len(name) <= _MOST else _hashed(name)


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """Each name with its identifier. Those that differ only in case and underscores are hashed too: protoc refuses
    fields whose names are the same in JSON, where they lose both."""
    given = list(dict.fromkeys(names))
    folded = Counter(_folded(identifier(name)) for name in given)
    return {name: identifier(name) if folded[_folded(identifier(name))] == 1 else _hashed(name) for name in given}


def type_names(names: Iterable[str]) -> dict[str, str]:
    """Each name with the identifier of a message: ``ImageNorm`` for "image_norm"."""
    return {name: _camel(each) for name, each in identifiers(names).items()}


def _hashed(name: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9]+", "_", name)[:_MOST].strip("_")
    if not readable or readable[0].isdigit():
        readable = f"x_{readable}".strip("_")
    return f"{readable}_{hashlib.sha256(name.encode()).hexdigest()[:_HASH]}"


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _camel(name: str) -> str:
    # `identifiers` has made sure that names differ without their underscores
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
