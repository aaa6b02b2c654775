"""Formats commands and code as Markdown, and guides as HTML pages."""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path
from typing import Any

from ..templates import render

TEMPLATES = Path(__file__).parent / "templates"
_TICKS = re.compile(r"`+")


def block(text: str, language: str = "") -> str:
    """`text` as a code block, with a fence that is longer than any in `text`."""
    fence = _fence(text, 3)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def shell(value: Any) -> str:
    """`value` as one argument of a shell command."""
    return shlex.quote(str(value))


def python(value: Any) -> str:
    """`value` as a Python literal in ASCII."""
    return ascii(value)


def page(markdown: str, title: str) -> str:
    """A guide as an HTML page. HTML in the guide is escaped."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).render(markdown)
    return render(TEMPLATES, "page.html.j2", title=html.escape(title), body=body)


def _fence(text: str, min_length: int) -> str:
    longest = max((len(run) for run in _TICKS.findall(text)), default=0)
    return "`" * max(min_length, longest + 1)
