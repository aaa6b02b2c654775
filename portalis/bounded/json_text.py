"""Parses JSON within bounds.

Python's parser takes about 70 bytes per value, and a value needs only two bytes of text.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .bounds import Bounds, Repeated

_STRING = re.compile(r'"[^"]*"?')
_BRACKET = re.compile(r"[\[\]{}]")


def parse_json(text: str | bytes, bounds: Bounds) -> Any:
    """The value in `text` (UTF-8). Raises Excess, and ValueError for invalid JSON and duplicate keys."""
    bounds.check_bytes(len(text))
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    if text.count(",") + text.count("[") + text.count("{") > min(bounds.max_values, bounds.max_depth):
        bare = without_strings(text)
        check_brackets(bare, bounds)
        bounds.check_values(sum(map(bare.count, ",[{")))
    return json.loads(text, object_pairs_hook=_unique_keys)


def without_strings(text: str) -> str:
    """`text` without the content of strings, which can include brackets and commas."""
    return _STRING.sub('"', text.replace("\\\\", "_").replace('\\"', "_"))


def check_brackets(text: str, bounds: Bounds) -> None:
    """Raise Excess if brackets are nested too deeply in `text`, which has no strings."""
    depth = 0
    for found in _BRACKET.finditer(text):
        if found[0] in "[{":
            depth += 1
            bounds.check_depth(depth)
        else:
            depth -= 1


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # readers differ in which of two values they use
        seen = set[str]()
        duplicate = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Repeated(f"{duplicate!r} is given twice")
    return found
