"""Commands and code of a guide as blocks of Markdown, and guides as pages of HTML."""

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


def _fence(text: str, least: int) -> str:
    longest = max((len(run) for run in _TICKS.findall(text)), default=0)
    return "`" * max(least, longest + 1)
