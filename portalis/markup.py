"""Text of users as data in Markdown, reStructuredText and plain text: nothing in it is ever markup.

Line breaks and tabs become spaces, as all three fold lines into paragraphs; other characters that control a terminal
or the direction of text, and halves of surrogate pairs, are shown escaped.
"""

from __future__ import annotations

import re
import textwrap

from .escaping import HIDDEN_CHARACTERS

WIDTH = 79
# spelled out, as what a Python version holds for printable differs from the next one's
_CONTROL = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f{HIDDEN_CHARACTERS}\ud800-\udfff]")
_SPACES = re.compile("[ \t\r\n]+")
# CommonMark takes a backslash before any ASCII punctuation. These mean something inside a line, in CommonMark or in
# GitHub's dialect of it (tables, ~~strikethrough~~, $mathematics$, @names, :emoji:, links without brackets) …
_MARKDOWN_INLINE = re.compile(r"[\\`*_\[\]<>&~|$@{}]|:(?=\S)|(?<=[wW]{3})\.")
# … and these at its beginning: headings, lists, rules
_MARKDOWN_START = re.compile(r"^(\d{1,9}(?=[.)]( |$))|(?=[#+=-]))")
# docutils: inline markup, references, footnotes, links without brackets, addresses, and `::` at the end
_RST_INLINE = re.compile(r"[\\*`|_:@<>\[\]]")
# what begins no list, whatever follows: a word, or a number with a point in it
_RST_ORDINARY = re.compile(r"[A-Za-z][A-Za-z0-9-]*([ ,/\\]|$|[.)](?! |$))|\d+\.\d")
_PLAIN_LINK = re.compile(r"https?://[A-Za-z0-9._~/?#=%+,;-]+(:\d+)?[A-Za-z0-9._~/?#=%+,;-]*")


def plain(text: object) -> str:
    """One line that shows `text`."""
    shown = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], str(text))
    return _SPACES.sub(" ", shown).strip(" ")


def paragraph(text: object, indent: str = "") -> str:
    """`plain`, wrapped to `WIDTH` columns; lines after the first begin with `indent`."""
    lines = textwrap.wrap(plain(text), WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def markdown(text: object) -> str:
    """One line of Markdown that shows `text`, wherever in a line it stands."""
    escaped = _MARKDOWN_INLINE.sub(r"\\\g<0>", plain(text))
    return _MARKDOWN_START.sub(r"\g<1>\\", escaped)


def markdown_code(text: object) -> str:
    """`text` as a code span of Markdown."""
    shown = plain(text) or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def markdown_link(url: object) -> str:
    """An address that can be followed where it is an ordinary one, else its text."""
    shown = plain(url)
    return f"<{shown}>" if _PLAIN_LINK.fullmatch(shown) else markdown(shown)


def rst(text: object) -> str:
    """One line of reStructuredText that shows `text`, wherever in a line it stands."""
    escaped = _RST_INLINE.sub(r"\\\g<0>", plain(text))
    if set(escaped) == {"\\"}:
        return "\\ " + escaped  # a line of one mark alone is a rule; an escaped space is nothing
    if not escaped or escaped.startswith("\\") or _RST_ORDINARY.match(escaped):
        return escaped
    return "\\" + escaped  # now it is no list, table, directive or rule


def rst_link(url: object) -> str:
    """An address that can be followed where it is an ordinary one, else its text."""
    shown = plain(url)
    return shown if _PLAIN_LINK.fullmatch(shown) and shown[-1] not in ".,;?" else rst(shown)


def underlined(title: str, mark: str) -> str:
    """A heading: `title`, which is escaped already, over a line of `mark` that is never too short."""
    width = sum(1 if each.isascii() else 2 for each in title)
    return f"{title}\n{mark * max(width, 4)}"


def rst_title(text: object, mark: str) -> str:
    """A heading of reStructuredText."""
    return underlined(rst(text), mark)
