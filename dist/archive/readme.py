"""The README of an archive, rendered from the package's own template or from the user's."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from ...contracts.errors import ErrorType
from ...markup import markdown, markdown_code, markdown_link, paragraph, plain, rst, rst_link, rst_title, underlined
from ...quantities import file_size
from ...spec.distribution import DistributionConfiguration, ReadmeFormat
from ...target import StageError
from ...templates import render

README_ENDINGS: Mapping[ReadmeFormat, str] = {
    ReadmeFormat.Markdown: "md",
    ReadmeFormat.PlainText: "txt",
    ReadmeFormat.RestructuredText: "rst",
}
_BLANK_LINES = re.compile(r"\n{3,}")


def human(count: int) -> str:
    """Format a number of bytes. Jinja filters have the names of their functions, and users' templates use this one."""
    return file_size(count)


# Jinja filters by their function names, which users' templates also use
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


def render_readme(config: DistributionConfiguration, values: Mapping[str, Any]) -> tuple[str, str]:
    """Return the README's file name and its text, which ends in a newline. Raises StageError for an invalid user's
    template."""
    name = f"README.{README_ENDINGS[config.readme_format]}"
    if config.readme_template is not None:
        text = render_user_template(config.readme_template, values)
    else:
        text = render(Path(__file__).parent / "templates", f"{name}.j2", FILTERS, **values)
        text = _BLANK_LINES.sub("\n\n", text)  # empty sections leave blank lines
    return name, text.rstrip("\n") + "\n"


def render_user_template(path: Path, values: Mapping[str, Any]) -> str:
    """Render the user's Jinja template in the file `path`, in a sandbox that provides only `values` and `FILTERS`.

    Raises StageError with the file, the line and the reason: a syntax error, an undefined name, an operation that the
    sandbox denies, or any error of an expression.
    """
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _template_error(f"{path} cannot be read as UTF-8: {error}", values) from None
    environment = SandboxedEnvironment(
        loader=jinja2.FunctionLoader(lambda name: (source, str(path), None) if name == path.name else None),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({each.__name__: each for each in FILTERS})
    try:
        return environment.get_template(path.name).render(values)
    except jinja2.TemplateSyntaxError as error:
        raise _template_error(f"{path}, line {error.lineno}: {error.message}", values) from None
    except Exception as error:  # noqa: BLE001 (an expression of the template can raise any exception)
        message = f"{path}, line {_line(error, path)}: {str(error) or type(error).__name__}"
        raise _template_error(message, values) from None


def _line(error: Exception, path: Path) -> int | str:
    """The innermost template line in the traceback; Jinja adds its lines there."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines and lines[-1] is not None else "unknown"


def _template_error(message: str, values: Mapping[str, Any]) -> StageError:
    return StageError(
        ErrorType.DocumentationError,
        f"the README template is invalid: {message}",
        remediation="Fix the template (distribution_config.readme_template), or remove the key to get the README that"
        f" portalis generates. Names that a template can use: {', '.join(sorted(values))}.",
    )
