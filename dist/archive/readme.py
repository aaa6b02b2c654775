"""The README of an archive, from the package's own templates or from one that a user wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...markup import markdown, markdown_code, markdown_link, paragraph, plain, rst, rst_link, rst_title, underlined
from ...spec.distribution import DistributionConfiguration, ReadmeFormat
from ...templates import render
from .user_template import render_user_template
from .writer import human

ENDINGS: Mapping[ReadmeFormat, str] = {
    ReadmeFormat.Markdown: "md",
    ReadmeFormat.PlainText: "txt",
    ReadmeFormat.RestructuredText: "rst",
}
_BLANK_LINES = re.compile(r"\n{3,}")
# the names by which templates know them, a user's own too
FILTERS: tuple[Callable[..., str], ...] = (
    human,
    markdown,
    markdown_code,
    markdown_link,
    paragraph,
    plain,
    rst,
    rst_link,
    rst_title,
    underlined,
)


def readme(config: DistributionConfiguration, values: Mapping[str, Any]) -> tuple[str, str]:
    """The file's name and its text, which ends in a newline. Raises StageError for a user's template that is wrong."""
    name = f"README.{ENDINGS[config.readme_format]}"
    if config.readme_template is not None:
        text = render_user_template(config.readme_template, FILTERS, values)
    else:
        text = render(Path(__file__).parent / "templates", f"{name}.j2", FILTERS, **values)
        text = _BLANK_LINES.sub("\n\n", text)  # what is left of sections that have nothing to say
    return name, text.rstrip("\n") + "\n"
