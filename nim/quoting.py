"""Quotes untrusted values in a Dockerfile, so that builders read back exactly the same data.

The rules are those of the lexer that Docker, BuildKit and Podman share (moby/buildkit, ``frontend/dockerfile/shell``):
between double quotes, a backslash escapes ``"``, ``$`` and the backslash; every other character is literal.
hadolint 2 treats a quote after two backslashes as text, so backslashes are written between quoted strings.
The JSON forms of CMD, ENTRYPOINT, HEALTHCHECK and RUN are not expanded; the JSON form of VOLUME is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..escaping import has_hidden

_SPECIAL_QUOTED = re.compile(r'["$]|\\+')
_SPECIAL_BARE = re.compile(r"""(["'$\\])""")
_ESCAPED = re.compile(r"\\.")
_UNWRITABLE = re.compile(r"[\r\n]")
ARGUMENT = "PORTALIS_VALUE_"
"""Prefix of the build arguments for values that a Dockerfile cannot contain."""


def value_problem(value: str) -> str | None:
    """The reason that no image can contain `value`; None if it is valid."""
    if "\0" in value:
        return "has a NUL character, which environment variables and labels cannot contain"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "has half of a surrogate pair, which is not valid Unicode"
    return None


def exec_form(argv: Iterable[str]) -> str:
    """The JSON form of a command: no shell, no expansion.

    A backslash is written as ``\\u005c``, because hadolint 2 does not parse a doubled backslash as JSON.
    """
    return _ESCAPED.sub(lambda found: r"\u005c" if found[0] == r"\\" else found[0], json.dumps(list(argv)))


def expanded_form(strings: Iterable[str]) -> str:
    """The JSON form of an instruction whose strings are expanded, such as VOLUME."""
    return json.dumps([_SPECIAL_BARE.sub(r"\\\1", each) for each in strings])


def _escaped(found: re.Match[str]) -> str:
    text = found[0]
    return f'"{text}{text}"' if text[0] == "\\" else f"\\{text}"


@dataclass(slots=True)
class Quoter:
    """Quotes values, and collects the build arguments for values that a Dockerfile cannot contain.

    These are values with line breaks, and values with characters that hide or reorder text.
    """

    arguments: dict[str, str] = field(default_factory=dict)

    def value(self, text: str) -> str:
        """`text` as a value of ENV or LABEL."""
        if not (_UNWRITABLE.search(text) or has_hidden(text)):
            return '"' + _SPECIAL_QUOTED.sub(_escaped, text) + '"'
        name = f"{ARGUMENT}{len(self.arguments) + 1}"
        self.arguments[name] = text
        return f'"${{{name}}}"'  # Podman 4 does not support `:?`

    def pairs(self, values: Mapping[str, str]) -> str:
        """Keys and quoted values, sorted, for a single instruction: each instruction is a step of the build."""
        return " \\\n    ".join(f"{key}={self.value(values[key])}" for key in sorted(values))
