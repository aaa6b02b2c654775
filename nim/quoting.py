"""How a value that someone else chose is written into a Dockerfile, so that it is read back as the same data.

The source is the lexer that Docker, BuildKit and Podman share (moby/buildkit, ``frontend/dockerfile/shell``): between
double quotes a backslash takes the meaning from ``"``, ``$`` and the backslash, and every other character is itself.
hadolint 2 reads a quote behind two backslashes as text, so backslashes stand between quoted pieces.
JSON forms of CMD, ENTRYPOINT, HEALTHCHECK and RUN are not expanded; that of VOLUME is.
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


def value_problem(value: str) -> str | None:
    """Why `value` cannot be in an image at all; None for all other text."""
    if "\0" in value:
        return "has a NUL character, which no environment variable or label can hold"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "has half of a surrogate pair, which is no text"
    return None


def exec_form(words: Iterable[str]) -> str:
    """The JSON form of a command: no shell, no expansion. A backslash is written as ``\\u005c``, as hadolint 2 takes no
    doubled one for JSON."""
    return _ESCAPED.sub(lambda found: r"\u005c" if found[0] == r"\\" else found[0], json.dumps(list(words)))


def expanded_form(words: Iterable[str]) -> str:
    """The JSON form of an instruction whose words are expanded after all, as those of VOLUME."""
    return json.dumps([_SPECIAL_BARE.sub(r"\\\1", word) for word in words])


def _escaped(found: re.Match[str]) -> str:
    text = found[0]
    return f'"{text}{text}"' if text[0] == "\\" else f"\\{text}"


@dataclass(slots=True)
class Quoted:
    """Quotes values. One with a line break, which no line of a Dockerfile can hold, becomes a build argument, and so
    does one with characters that hide or reorder text."""

    arguments: dict[str, str] = field(default_factory=dict)

    def value(self, text: str) -> str:
        """`text` as the right side of ENV or LABEL."""
        if not (_UNWRITABLE.search(text) or has_hidden(text)):
            return '"' + _SPECIAL_QUOTED.sub(_escaped, text) + '"'
        name = f"{ARGUMENT}{len(self.arguments) + 1}"
        self.arguments[name] = text
        return f'"${{{name}}}"'  # not with `:?`, which Podman 4 does not know

    def pairs(self, values: Mapping[str, str]) -> str:
        """Keys and quoted values as one instruction takes them, sorted; each instruction is a step of the build."""
        return " \\\n    ".join(f"{key}={self.value(values[key])}" for key in sorted(values))
