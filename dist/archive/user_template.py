"""A user's own Jinja template, rendered in a sandbox: it sees the values that it is given, and nothing else."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from ...contracts.errors import ErrorType
from ...target import StageError


def render_user_template(path: Path, filters: Iterable[Callable[..., str]], values: Mapping[str, Any]) -> str:
    """The text that the template in the file `path` makes of `values`.

    Raises StageError that names the file, the line and what is wrong there: a syntax error, a name that is not known,
    something that the sandbox refuses, or any error of an expression.
    """
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(f"{path} cannot be read as UTF-8: {error}", values) from None
    environment = SandboxedEnvironment(
        loader=jinja2.FunctionLoader(lambda name: (source, str(path), None) if name == path.name else None),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({each.__name__: each for each in filters})
    try:
        return environment.get_template(path.name).render(values)
    except jinja2.TemplateSyntaxError as error:
        raise _wrong(f"{path}, line {error.lineno}: {error.message}", values) from None
    except Exception as error:  # noqa: BLE001 (an expression of the user's can raise whatever it likes)
        message = f"{path}, line {_line(error, path)}: {str(error) or type(error).__name__}"
        raise _wrong(message, values) from None


def _line(error: Exception, path: Path) -> int | str:
    """The innermost line of the template that the error went through: Jinja puts those into the traceback."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines and lines[-1] is not None else "unknown"


def _wrong(message: str, values: Mapping[str, Any]) -> StageError:
    return StageError(
        ErrorType.DocumentationError,
        f"the template of the README is wrong: {message}",
        remediation="Fix the template (distribution_config.readme_template), or leave it out for the README that"
        f" portalis writes. The names that it can use: {', '.join(sorted(values))}.",
    )
