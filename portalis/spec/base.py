"""The base of every structure in a spec file, and the kinds of values that its fields share."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Discriminator, Field, JsonValue, WithJsonSchema

from ..documented import Documented

U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1
_DURATION = re.compile(r"(?=.)(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
# Kubernetes' resource quantities, as far as they make sense for memory and CPU
_MEMORY = re.compile(r"[1-9][0-9]*(Ki|Mi|Gi|Ti|k|M|G|T)?")
# as semver.org has it; semver itself reads the value
_NUMBER = "(?:0|[1-9][0-9]*)"
_IDENTIFIER = f"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_IDENTIFIER}(?:\.{_IDENTIFIER})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_CPU = re.compile(r"[1-9][0-9]*m?|[1-9][0-9]*\.[0-9]+|0\.[0-9]*[1-9][0-9]*")


TABLE: Final = "(table)"
WORD: Final = "(word)"


def _form(value: Any) -> str:
    return TABLE if isinstance(value, (dict, Documented)) else WORD


BY_FORM = Discriminator(_form)
"""For a union of a table (tagged `TABLE`) and something that is none (tagged `WORD`): an error is about one of them."""


class Structure(Documented):
    """Immutable; takes its own keys only, and no value of another type than its field has."""

    model_config = ConfigDict(strict=True)


class Choice(str, Enum):
    """A closed set of words, written in a spec as the requirements write them."""

    def __str__(self) -> str:
        return str(self.value)


def _semantic(text: str) -> str:
    import semver

    # its parser lets a line break through at the end
    if not text.isprintable() or not semver.Version.is_valid(text):
        raise ValueError(f"{text!r} is no semantic version: write MAJOR.MINOR.PATCH, such as 1.0.0 or 1.2.0-rc.1")
    return text


def _seconds(value: Any) -> Any:
    """``90``, ``"90s"`` or ``"1m30s"`` as whole seconds."""
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value)
    if found is None:
        raise ValueError(f"{value!r} is no duration: write seconds, or such as 30s, 2m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def _dim(size: int) -> int:
    if size == 0 or not -1 <= size < 2**63:
        raise ValueError(f"{size} is no size: dims are 1 or more, or -1 for any")
    return size


def _amount(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise ValueError(f"{text!r} is no amount of {what}")
        return text

    return AfterValidator(check)


def _pattern(pattern: re.Pattern[str]) -> dict[str, JsonValue]:
    """For a JSON Schema, whose patterns match anywhere unless they are told otherwise."""
    return {"type": "string", "pattern": f"^(?:{pattern.pattern})$"}


SemanticVersion = Annotated[str, AfterValidator(_semantic), WithJsonSchema(_pattern(_VERSION))]
NonEmpty = Annotated[str, Field(min_length=1)]
U32 = Annotated[int, Field(ge=0, le=U32_MAX)]
U64 = Annotated[int, Field(ge=0, le=U64_MAX)]
Positive = Annotated[int, Field(ge=1, le=U32_MAX)]
Port = Annotated[int, Field(ge=1, le=65535)]
InsideOutput = PurePosixPath  # a path in the output directory; every `Path` is an input beside the spec file
Seconds = Annotated[
    int,
    Field(ge=1, le=U32_MAX),
    BeforeValidator(_seconds),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer", "minimum": 1, "maximum": U32_MAX}, _pattern(_DURATION)],
            "description": "Seconds, or such as 30s, 2m or 1h30m.",
        }
    ),
]
Memory = Annotated[str, _amount(_MEMORY, "memory: write such as 512Mi or 2Gi"), WithJsonSchema(_pattern(_MEMORY))]
Cpu = Annotated[str, _amount(_CPU, "CPU: write such as 500m or 2"), WithJsonSchema(_pattern(_CPU))]
Dim = Annotated[
    int,
    AfterValidator(_dim),
    WithJsonSchema({"type": "integer", "minimum": -1, "maximum": 2**63 - 1, "not": {"const": 0}}),
]

__all__ = [
    "BY_FORM",
    "TABLE",
    "U32",
    "U64",
    "WORD",
    "Choice",
    "Cpu",
    "Dim",
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
