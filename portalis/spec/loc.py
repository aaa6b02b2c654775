"""Locations in a spec: tuples of keys and indices, and their text in messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

Loc = tuple[Any, ...]
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def loc_text(loc: Iterable[Any]) -> str:
    """``triton_config.inputs[0].dims``; a key that is not a plain word is in brackets: ``labels["a.b"]``."""
    text = ""
    for part in loc:
        if isinstance(part, str) and _PLAIN.fullmatch(part):
            text += f".{part}" if text else part
        elif isinstance(part, str):
            text += f"[{json.dumps(part)}]" if _has_surrogate(part) else f"[{json.dumps(part, ensure_ascii=False)}]"
        else:
            text += f"[{part}]"
    return text


def _has_surrogate(text: str) -> bool:
    """Whether `text` contains half of a surrogate pair, which cannot be encoded."""
    return any("\ud800" <= c <= "\udfff" for c in text)
