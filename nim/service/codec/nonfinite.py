"""Non-finite literals in JSON: NaN, Infinity and Inf, each with an optional minus, which Triton's parser accepts.

A document is parsed as strict JSON first. Only if that fails and the document can contain such literals, they are
replaced by values that do not occur elsewhere in it, and the values by floats after a second parse. Both steps take
time and memory in proportion to the document, and change nothing in its strings.
"""

from __future__ import annotations

import math
import re
import secrets
from typing import Any

_LITERAL = re.compile(rb"NaN|Inf")
_MAX_PIECES = 1 << 18
"""Maximum number of pieces of a document that contain literals. A tensor of numbers is one piece, as is a string."""
_MAX_MARKS = 1 << 22
"""Maximum number of literals that are replaced by strings, which take 60 bytes each."""
_KEYWORDS: dict[bytes, Any] = {b"null": None, b"true": True, b"false": False}


class NonFiniteLiterals:
    """The literals of one `document`: `replaced` in its text, and turned into floats by `restore`."""

    def __init__(self, document: bytes) -> None:
        self._document, self._marks = document, 0
        self._values: dict[type, dict[Any, float]] = {str: {}, bool: {}, type(None): {}}
        replacements = {}
        # a keyword that the document does not contain needs no memory; otherwise a random mark, in a string, is used
        mark = f"\x7f{secrets.token_urlsafe(3)}"
        for value, keyword in zip((math.nan, math.inf, -math.inf), _KEYWORDS):
            unused = keyword not in document
            parsed = _KEYWORDS[keyword] if unused else f"{mark}{keyword.decode()}"
            self._values[type(parsed)][parsed] = value
            replacements[value] = keyword if unused else f'"{parsed}"'.encode()
        nan, plus, minus = replacements.values()
        # longer literals first; NaN has no sign in JSON
        self._replacements = (
            *((b"-Infinity", minus), (b"Infinity", plus), (b"-Inf", minus), (b"Inf", plus)),
            *((b"-NaN", nan), (b"NaN", nan)),
        )

    @staticmethod
    def may_be_in(document: bytes) -> bool:
        """Whether the text contains such literals, in strings or outside of them."""
        return b"NaN" in document or b"Inf" in document

    def replaced(self) -> bytes:
        """The text with each literal outside of strings replaced. Raises ValueError if that would take too much memory
        or time."""
        document = self._document
        # escaped quotes end no string: they are masked, with the length unchanged
        masked = document.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in document else document
        result, done, offset, in_string = bytearray(), 0, 0, False
        for _ in range(_MAX_PIECES):
            match = _LITERAL.search(masked, offset)
            if match is None:
                result += document[done:]
                return bytes(result)
            start = match.start()
            in_string ^= masked.count(b'"', offset, start) % 2 == 1
            end = masked.find(b'"', start)
            if end < 0:
                end = len(masked)
            if not in_string:
                first = masked.rfind(b'"', offset, start) + 1 or offset
                result += document[done:first]
                result += self._replace_in(document[first:end])
                done = end
            offset = end
        raise ValueError("it has NaN or Infinity in too many places")

    def _replace_in(self, piece: bytes) -> bytes:
        for literal, replacement in self._replacements:
            if replacement[:1] == b'"':
                self._marks += piece.count(literal)
                if self._marks > _MAX_MARKS:
                    raise ValueError(f"it has {literal.decode()} too often together with null, true and false")
            piece = piece.replace(literal, replacement)
        return piece

    def restore(self, value: Any) -> Any:
        """The parsed `value` with floats for the replacements. Raises ValueError if a literal was a key."""
        values, marks = self._values, self._values[str].keys()
        top = [value]
        pending: list[list[Any] | dict[Any, Any]] = [top]
        while pending:
            container = pending.pop()
            if isinstance(container, dict) and not marks.isdisjoint(container):
                raise ValueError("a key must be a string in quotes")
            for key, each in container.items() if isinstance(container, dict) else enumerate(container):
                kind = type(each)
                if kind in values:
                    if each in values[kind]:
                        container[key] = values[kind][each]
                elif kind is list or kind is dict:
                    pending.append(each)
        return top[0]
