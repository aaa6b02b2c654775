"""Converts lines of an engine's or a container's log to plain text that is safe in a terminal, a report and a page.

Programs in builds write colors, redraw progress bars, and can print any control character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..escaping import printable

MAX_LINE_CHARS = 4000
"""Maximum length of a line, in characters; a longer line is cut."""
# ECMA-48: control sequences (colors, cursor), control strings (titles, links), and single escapes
_SEQUENCES = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
    "|(?:\x1b[\\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\\\|\x9c)?"
    "|\x1b[ -/]*[0-~]"
)


def log_lines(text: str) -> Iterator[str]:
    """The non-empty lines of `text`, each as plain text."""
    for line in re.split("\r?\n|[\x0b\x0c\x85\u2028\u2029]", text):
        if plain := plain_line(line):
            yield plain


def log_sentence(text: str) -> str:
    """The lines of an engine's message, joined to a single line."""
    return "; ".join(log_lines(text))


def plain_line(line: str) -> str:
    """`line` as a terminal displays it after the last carriage return, without colors. Other characters that cannot be
    printed are escaped."""
    text = _SEQUENCES.sub("", line).rstrip()
    last = text.rpartition("\r")[2].expandtabs()  # a carriage return overwrites what precedes it
    return printable(last if len(last) <= MAX_LINE_CHARS else f"{last[:MAX_LINE_CHARS]} …")
