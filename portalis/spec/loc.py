"""Where in a spec something stands, as tuples of keys and indices, and as the text that people read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

Loc = tuple[Any, ...]
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def loc_text(place: Iterable[Any]) -> str:
    """``triton_config.inputs[0].dims``; a key that is no plain word stands in brackets: ``labels["a.b"]``."""
    text = ""
    for part in place:
        if isinstance(part, str) and _PLAIN.fullmatch(part):
            text += f".{part}" if text else part
        elif isinstance(part, str):
            text += f"[{json.dumps(part)}]" if _half(part) else f"[{json.dumps(part, ensure_ascii=False)}]"
        else:
            text += f"[{part}]"
    return text


def _half(text: str) -> bool:
    """Whether there is half of a surrogate pair in it, which no output takes."""
    return any("\ud800" <= c <= "\udfff" for c in text)
