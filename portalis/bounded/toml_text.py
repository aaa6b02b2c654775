"""Parses TOML within bounds. Time and memory of Python's parser grow with the square of the parts of a dotted key.

The parser stores a path for each part of each key, so 20,000 parts in 40 KB of text take 1.6 GiB.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from .bounds import Bounds, Excess
from .json_text import check_brackets

MAX_KEY_PARTS = 16
# comments and strings, whose content is not counted; the parser reports those without an end
_OPAQUE = re.compile(
    r"""#[^\n]*|"{3}[\s\S]*?(?:"{3,5}|\Z)|'{3}[\s\S]*?(?:'{3,5}|\Z)|"[^"\n]*"?|'[^'\n]*'?""",
)
_BETWEEN_KEYS = re.compile(r"[\n,=\[\]{}]+")


def parse_toml(text: str, bounds: Bounds) -> dict[str, Any]:
    """The table in `text`. Raises Excess, and ValueError for invalid TOML."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    bounds.check_bytes(len(text))
    bare = _OPAQUE.sub('"', text.replace("\\\\", "_").replace('\\"', "_"))
    check_brackets(bare, bounds)
    bounds.check_values(sum(map(bare.count, "=,.[{")))
    if max(each.count(".") for each in _BETWEEN_KEYS.split(bare)) >= MAX_KEY_PARTS:
        raise Excess(f"is nested too deeply: a key has more than {MAX_KEY_PARTS} parts")
    found: dict[str, Any] = tomllib.loads(text)
    return found
