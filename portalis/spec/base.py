"""Base classes of the structures in a spec file, and types that their fields share."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Discriminator, Field, WithJsonSchema

from ..documented import Documented
from ..free_ports import PORT_MAX
from ..quantities import Cpu, Memory, whole_match

I32_MAX = 2**31 - 1
U32_MAX = 2**32 - 1
I64_MAX = 2**63 - 1
U64_MAX = 2**64 - 1
_DURATION = re.compile(r"(?=.)(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
# as defined by semver.org, for the JSON Schema; the semver package parses values
_NUMBER = "(?:0|[1-9][0-9]*)"
_IDENTIFIER = f"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_IDENTIFIER}(?:\.{_IDENTIFIER})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)


TABLE: Final = "(table)"
WORD: Final = "(word)"


def _form(value: Any) -> str:
    return TABLE if isinstance(value, (dict, Documented)) else WORD


BY_FORM = Discriminator(_form)
"""Discriminates a table (tagged `TABLE`) from any other value (tagged `WORD`), so that errors are about one of them."""


class Structure(Documented):
    """An immutable table of a spec. It rejects unknown keys and values of a different type."""

    model_config = ConfigDict(strict=True)


class Choice(str, Enum):
    """An enumeration; the values in a spec are those of the requirements."""

    def __str__(self) -> str:
        return str(self.value)


def _semantic(text: str) -> str:
    import semver

    # its parser accepts a line break at the end
    if not text.isprintable() or not semver.Version.is_valid(text):
        raise ValueError(f"expected a semantic version such as 1.0.0 or 1.2.0-rc.1, got {text!r}")
    return text


def _seconds(value: Any) -> Any:
    """``90``, ``"90s"`` or ``"1m30s"`` as whole seconds."""
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value)
    if found is None:
        raise ValueError(f"expected a number of seconds, or a duration such as 30s, 2m or 1h30m, got {value!r}")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def _dim(size: int) -> int:
    if size == 0 or not -1 <= size <= I64_MAX:
        raise ValueError(f"expected a size of 1 or more, or -1 for any size, got {size}")
    return size


SemanticVersion = Annotated[str, AfterValidator(_semantic), WithJsonSchema(whole_match(_VERSION))]
NonEmpty = Annotated[str, Field(min_length=1)]
I32 = Annotated[int, Field(ge=0, le=I32_MAX)]
I32Positive = Annotated[int, Field(ge=1, le=I32_MAX)]
U32 = Annotated[int, Field(ge=0, le=U32_MAX)]
U64 = Annotated[int, Field(ge=0, le=U64_MAX)]
Positive = Annotated[int, Field(ge=1, le=U32_MAX)]
Port = Annotated[int, Field(ge=1, le=PORT_MAX)]
InsideOutput = PurePosixPath  # a path in the output directory; every `Path` is an input file or directory
Seconds = Annotated[
    int,
    Field(ge=1, le=U32_MAX),
    BeforeValidator(_seconds),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer", "minimum": 1, "maximum": U32_MAX}, whole_match(_DURATION)],
            "description": "Seconds, or a duration such as 30s, 2m or 1h30m.",
        }
    ),
]
Dim = Annotated[
    int,
    AfterValidator(_dim),
    WithJsonSchema({"type": "integer", "minimum": -1, "maximum": I64_MAX, "not": {"const": 0}}),
]

__all__ = [
    "BY_FORM",
    "I32",
    "I32_MAX",
    "I64_MAX",
    "TABLE",
    "U32",
    "U32_MAX",
    "U64",
    "U64_MAX",
    "WORD",
    "Choice",
    "Cpu",
    "Dim",
    "I32Positive",
    "InsideOutput",
    "Memory",
    "NonEmpty",
    "Path",
    "Port",
    "Positive",
    "Seconds",
    "SemanticVersion",
    "Structure",
]
