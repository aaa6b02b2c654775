"""Writes values that others chose into Markdown, where they are read back as the same text, and pages of HTML."""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path
from typing import Any

from portalis.templates import render

TEMPLATES = Path(__file__).parent / "templates"
# what begins emphasis, code, links, entities, HTML and tables; and, at the beginning of a line, lists and headings
_SPECIAL = re.compile(r"([\\`*_\[\]<>&|~#!$])")
_OPENING = re.compile(r"^([-+=]|\d+(?=[.)]))")
_TICKS = re.compile(r"`+")


def prose(value: Any) -> str:
    """`value` as text on one line."""
    escaped = _SPECIAL.sub(r"\\\1", _one_line(str(value)))
    return _OPENING.sub(lambda found: _open(found[1]), escaped)


def code(value: Any) -> str:
    """`value` as code within a line."""
    text = _one_line(str(value))
    if not text:
        return ""
    fence = _fence(text, 1)
    # a space on both sides is taken off again
    pad = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def block(text: str, language: str = "") -> str:
    """`text` as a block of code, whatever it holds."""
    fence = _fence(text, 3)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def shell(value: Any) -> str:
    """`value` as one word of a shell command."""
    return shlex.quote(str(value))


def python(value: Any) -> str:
    """`value` as a literal of Python, in ASCII."""
    return ascii(value)


def page(markdown: str, title: str) -> str:
    """The guide as a page of HTML. HTML within the guide stays text."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).render(markdown)
    return render(TEMPLATES, "page.html.j2", title=html.escape(title), body=body)


def _open(mark: str) -> str:
    # a digit cannot be escaped; the dot or bracket behind it, which makes the list, can: so an entity stands for it
    return f"\\{mark}" if not mark.isdigit() else f"&#{ord(mark[0])};{mark[1:]}"


def _fence(text: str, least: int) -> str:
    longest = max((len(run) for run in _TICKS.findall(text)), default=0)
    return "`" * max(least, longest + 1)


def _one_line(text: str) -> str:
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
