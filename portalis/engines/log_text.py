"""Lines of an engine or a container as text that a terminal, a report and a page only show.

Programs in builds colour their output, draw progress over it, and can print whatever they like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..escaping import printable

LONGEST = 4000  # characters of a line that are kept
# ECMA-48: control sequences (colours, cursor), control strings (titles, links), and single escapes
_SEQUENCES = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
    "|(?:\x1b[\\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\\\|\x9c)?"
    "|\x1b[ -/]*[0-~]"
)


def lines(text: str) -> Iterator[str]:
    """The lines of `text` that have anything in them."""
    for line in re.split("\r?\n|[\x0b\x0c\x85\u2028\u2029]", text):
        if shown := shown_line(line):
            yield shown


def sentence(text: str) -> str:
    """An engine's own words on one line."""
    return "; ".join(lines(text))


def shown_line(line: str) -> str:
    """`line` as a terminal would show it in the end, without colours; what else does not print is escaped."""
    bare = _SEQUENCES.sub("", line).rstrip()
    last = bare.rpartition("\r")[2].expandtabs()  # what was drawn over is gone
    return printable(last if len(last) <= LONGEST else f"{last[:LONGEST]} …")
