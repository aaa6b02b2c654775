"""Values as USD's text format writes them."""

from __future__ import annotations

from collections.abc import Iterable

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def text(value: str) -> str:
    """A string, whatever it holds."""
    return f'"{"".join(map(_character, value))}"'


def array(values: Iterable[float | int | str]) -> str:
    """An array of numbers, or of strings."""
    return "[" + ", ".join(text(each) if isinstance(each, str) else repr(each) for each in values) + "]"


def _character(each: str) -> str:
    if each in _ESCAPES:
        return _ESCAPES[each]
    return f"\\x{ord(each):02x}" if each < " " or each == "\x7f" else each
