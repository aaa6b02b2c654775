"""Renders a target's Jinja templates: files named after what they produce, in the target's `templates/` folder.

A name that a template uses and nobody gave is an error. Values are put in as they are: a template that writes a
format with a syntax of its own has to be given values that are escaped for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2


def render(folder: Path, name: str, filters: tuple[Callable[[Any], str], ...] = (), /, **values: object) -> str:
    """The template ``<folder>/<name>`` with `values`; each of `filters` is known to it by its own name."""
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
