"""Characters that hide or reorder text (C1 controls, marks of direction, invisible breaks), escaped in data files.

A reader of a generated file sees what a program reads from it (https://trojansource.codes). Every escape here stands
for the same character: the data does not change. Prose is escaped by `markup`.
"""

from __future__ import annotations

import re

CHARACTERS = "\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff"
_HIDDEN = re.compile(f"[{CHARACTERS}]")


def in_quotes(text: str) -> str:
    """`text` in JSON, YAML or TOML, where such characters stand in double quotes only."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def in_protobuf(text: str) -> str:
    """`text` in protobuf's text format, whose older readers know bytes in octal only."""
    return _HIDDEN.sub(lambda found: "".join(f"\\{byte:03o}" for byte in found[0].encode()), text)


def has_hidden(text: str) -> bool:
    """Whether there are such characters in `text`."""
    return _HIDDEN.search(text) is not None
