"""Escapes users' text for Markdown, reStructuredText and plain text, so that it contains no markup.

Line breaks and tabs become spaces, because all three formats join lines. Other control characters, characters that
change the direction of text, and halves of surrogate pairs are shown as escapes.
"""

from __future__ import annotations

import re
import textwrap

from .escaping import HIDDEN_CHARACTERS

WIDTH = 79
# listed explicitly, because `str.isprintable` differs between Python versions
_CONTROL = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f{HIDDEN_CHARACTERS}\ud800-\udfff]")
_SPACES = re.compile("[ \t\r\n]+")
# CommonMark allows a backslash before any ASCII punctuation. These are markup inside a line, in CommonMark or in
# GitHub's dialect of it (tables, ~~strikethrough~~, $mathematics$, @names, :emoji:, links without brackets) …
_MARKDOWN_INLINE = re.compile(r"[\\`*_\[\]<>&~|$@{}]|:(?=\S)|(?<=[wW]{3})\.")
# … and these at its beginning: headings, lists, rules
_MARKDOWN_START = re.compile(r"^(\d{1,9}(?=[.)]( |$))|(?=[#+=-]))")
# docutils: inline markup, references, footnotes, links without brackets, addresses, and `::` at the end
_RST_INLINE = re.compile(r"[\\*`|_:@<>\[\]]")
# the beginning of a line that is not a list: a word, or a number with a decimal point
_RST_ORDINARY = re.compile(r"[A-Za-z][A-Za-z0-9-]*([ ,/\\]|$|[.)](?! |$))|\d+\.\d")
_PLAIN_LINK = re.compile(r"https?://[A-Za-z0-9._~/?#=%+,;-]+(:\d+)?[A-Za-z0-9._~/?#=%+,;-]*")


def plain(text: object) -> str:
    """`text` on one line, with escapes."""
    shown = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], str(text))
    return _SPACES.sub(" ", shown).strip(" ")


def paragraph(text: object, indent: str = "") -> str:
    """`plain(text)` wrapped to `WIDTH` columns; lines after the first begin with `indent`."""
    lines = textwrap.wrap(plain(text), WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def markdown(text: object) -> str:
    """One line of Markdown that shows `text`, at any position of a line."""
    escaped = _MARKDOWN_INLINE.sub(r"\\\g<0>", plain(text))
    return _MARKDOWN_START.sub(r"\g<1>\\", escaped)


def markdown_code(text: object) -> str:
    """A code span of Markdown that shows `text`."""
    shown = plain(text) or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def markdown_link(url: object) -> str:
    """A link to `url` if it is an ordinary URL, else its text."""
    shown = plain(url)
    return f"<{shown}>" if _PLAIN_LINK.fullmatch(shown) else markdown(shown)


def rst(text: object) -> str:
    """One line of reStructuredText that shows `text`, at any position of a line."""
    escaped = _RST_INLINE.sub(r"\\\g<0>", plain(text))
    if set(escaped) == {"\\"}:
        return "\\ " + escaped  # a line of a single mark is a rule; an escaped space produces no output
    if not escaped or escaped.startswith("\\") or _RST_ORDINARY.match(escaped):
        return escaped
    return "\\" + escaped  # the line is not a list, table, directive or rule


def rst_link(url: object) -> str:
    """A link to `url` if it is an ordinary URL, else its text."""
    shown = plain(url)
    return shown if _PLAIN_LINK.fullmatch(shown) and shown[-1] not in ".,;?" else rst(shown)


def underlined(title: str, mark: str) -> str:
    """A heading: `title`, already escaped, above a line of `mark` that is long enough."""
    width = sum(1 if each.isascii() else 2 for each in title)
    return f"{title}\n{mark * max(width, 4)}"


def rst_title(text: object, mark: str) -> str:
    """A heading of reStructuredText that shows `text`."""
    return underlined(rst(text), mark)
