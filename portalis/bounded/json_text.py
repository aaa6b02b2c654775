"""JSON within bounds. Python's parser takes some 70 bytes for each value, of which a text can have one in two bytes."""

from __future__ import annotations

import json
import re
from typing import Any

from .bounds import Bounds, Repeated

_STRING = re.compile(r'"[^"]*"?')
_BRACKET = re.compile(r"[\[\]{}]")


def parse_json(text: str | bytes, bounds: Bounds) -> Any:
    """The value in `text` (UTF-8), each key of an object given once. Raises Excess; ValueError for what is not JSON."""
    bounds.check_bytes(len(text))
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    if text.count(",") + text.count("[") + text.count("{") > min(bounds.max_values, bounds.max_depth):
        bare = without_strings(text)
        check_brackets(bare, bounds)
        bounds.check_values(sum(map(bare.count, ",[{")))
    return json.loads(text, object_pairs_hook=_once_each)


def without_strings(text: str) -> str:
    """`text` without what stands in quotes, which can be brackets and commas."""
    return _STRING.sub('"', text.replace("\\\\", "_").replace('\\"', "_"))


def check_brackets(text: str, bounds: Bounds) -> None:
    """Raise Excess where brackets nest too deep in `text`, which has no strings."""
    depth = 0
    for found in _BRACKET.finditer(text):
        if found[0] in "[{":
            depth += 1
            bounds.check_depth(depth)
        else:
            depth -= 1


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # readers differ in which of two values counts
        seen = set[str]()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Repeated(f"{twice!r} is given twice")
    return found
