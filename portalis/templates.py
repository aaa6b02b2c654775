"""Renders Jinja templates, which are named after their output, from a package's `templates/` directory.

An undefined name in a template is an error. Values are not escaped: the caller escapes them for the template's format.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2


def render(folder: Path, name: str, filters: tuple[Callable[[Any], str], ...] = (), /, **values: object) -> str:
    """Render the template ``<folder>/<name>`` with `values`. `filters` are available by the functions' names."""
    return _environment(folder, filters).get_template(name).render(values)


@functools.cache
def _environment(folder: Path, filters: tuple[Callable[[Any], str], ...]) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 (no HTML is written)
    )
    environment.filters.update({each.__name__: each for each in filters})
    return environment
