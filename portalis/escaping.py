"""Escaping of control characters and of characters that hide or reorder text (https://trojansource.codes).

Prose formats have their own escapes, in `markup`.
"""

from __future__ import annotations

import re

HIDDEN_CHARACTERS = "\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff"
"""A character class of regular expressions: C1 controls, direction marks and invisible breaks."""
_HIDDEN = re.compile(f"[{HIDDEN_CHARACTERS}]")


def printable(text: str, *, keep: str = "") -> str:
    """`text` on one line, safe for a terminal or a log: unprintable characters are escaped, except those in `keep`."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def escape_hidden(text: str) -> str:
    r"""`text`, a JSON, YAML or TOML document, with its hidden characters as ``\uXXXX``.

    These formats allow such characters in double-quoted strings only, so the data stays the same.
    """
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def escape_hidden_protobuf(text: str) -> str:
    """`text` in protobuf's text format with its hidden characters as octal bytes, which older readers accept too."""
    return _HIDDEN.sub(lambda match: "".join(f"\\{byte:03o}" for byte in match[0].encode()), text)


def has_hidden(text: str) -> bool:
    """Whether `text` contains a hidden character."""
    return _HIDDEN.search(text) is not None
