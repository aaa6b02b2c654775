"""The bare words that a parser of strict JSON refuses and Triton's accepts: NaN, Infinity and Inf, each with a minus.

A document is parsed as strict JSON first. Only where that fails and it may have such words, they are replaced by what
it does not have otherwise, and that by floats in what the second parse gives. Both steps take time and memory in
proportion to the document, and change nothing in its strings.
"""

from __future__ import annotations

import math
import re
import secrets
from typing import Any

_ANY = re.compile(rb"NaN|Inf")
_PIECES = 1 << 18
"""How many pieces of a document are looked at, texts with such words among them; a tensor of numbers is one piece."""
_MARKS = 1 << 22
"""How many words may become strings, which take 60 bytes each."""
_LITERALS: dict[bytes, Any] = {b"null": None, b"true": True, b"false": False}


class NonFiniteLiterals:
    """The words of one `document`: `replaced` in its text, then floats again by `restore`."""

    def __init__(self, document: bytes) -> None:
        self._document, self._marks = document, 0
        self._literals: dict[type, dict[Any, float]] = {str: {}, bool: {}, type(None): {}}
        texts = {}
        # a literal that the document has not costs no memory; a mark in a string is there by chance only
        mark = f"\x7f{secrets.token_urlsafe(3)}"
        for value, literal in zip((math.nan, math.inf, -math.inf), _LITERALS):
            free = literal not in document
            stands_for = _LITERALS[literal] if free else f"{mark}{literal.decode()}"
            self._literals[type(stands_for)][stands_for] = value
            texts[value] = literal if free else f'"{stands_for}"'.encode()
        nan, plus, minus = texts.values()
        # longer ones first; NaN has no sign in JSON
        self._texts = (
            *((b"-Infinity", minus), (b"Infinity", plus), (b"-Inf", minus), (b"Inf", plus)),
            *((b"-NaN", nan), (b"NaN", nan)),
        )

    @staticmethod
    def may_be_in(document: bytes) -> bool:
        """Whether the text has such words, in strings or out of them."""
        return b"NaN" in document or b"Inf" in document

    def replaced(self) -> bytes:
        """The text with each word outside of strings replaced. Raises ValueError where that would take too much."""
        document = self._document
        # quotes that end no string are covered, byte for byte
        bare = document.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in document else document
        result, done, at, inside = bytearray(), 0, 0, False
        for _ in range(_PIECES):
            found = _ANY.search(bare, at)
            if found is None:
                result += document[done:]
                return bytes(result)
            start = found.start()
            inside ^= bare.count(b'"', at, start) % 2 == 1
            end = bare.find(b'"', start)
            if end < 0:
                end = len(bare)
            if not inside:
                first = bare.rfind(b'"', at, start) + 1 or at
                result += document[done:first]
                result += self._piece(document[first:end])
                done = end
            at = end
        raise ValueError("it has NaN or Infinity in too many places")

    def _piece(self, piece: bytes) -> bytes:
        for word, text in self._texts:
            if text[:1] == b'"':
                self._marks += piece.count(word)
                if self._marks > _MARKS:
                    raise ValueError(f"it has {word.decode()} too often beside null, true and false")
            piece = piece.replace(word, text)
        return piece

    def restore(self, value: Any) -> Any:
        """The parsed value with floats for the words. Raises ValueError where one of them is a key."""
        literals, marks = self._literals, self._literals[str].keys()
        top = [value]
        pending: list[list[Any] | dict[Any, Any]] = [top]
        while pending:
            container = pending.pop()
            if isinstance(container, dict) and not marks.isdisjoint(container):
                raise ValueError("a key must be text in quotes")
            for key, each in container.items() if isinstance(container, dict) else enumerate(container):
                kind = type(each)
                if kind in literals:
                    if each in literals[kind]:
                        container[key] = literals[kind][each]
                elif kind is list or kind is dict:
                    pending.append(each)
        return top[0]
