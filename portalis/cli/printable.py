"""What others wrote (names in modules, files, guests) as text that a terminal only shows."""

from __future__ import annotations


def printable(text: str, *, keep: str = "") -> str:
    """`text` with everything that a terminal would act on escaped, except the characters in `keep`."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)
