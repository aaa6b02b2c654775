"""The base of every structure in a spec file, and the kinds of values that its fields share."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema

from ..documented import Documented

U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
# Kubernetes' resource quantities, as far as they make sense for memory and CPU
_MEMORY = re.compile(r"[1-9]\d*(Ki|Mi|Gi|Ti|k|M|G|T)?")
_CPU = re.compile(r"[1-9]\d*m?|\d+\.\d+")


class Structure(Documented):
    """Immutable; takes its own keys only, and no value of another type than its field has."""

    model_config = ConfigDict(strict=True)


class Choice(str, Enum):
    """A closed set of words, written in a spec as the requirements write them."""

    def __str__(self) -> str:
        return str(self.value)


def _semantic(text: str) -> str:
    import semver

    try:
        semver.Version.parse(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no semantic version: write MAJOR.MINOR.PATCH, such as 1.0.0 or 1.2.0-rc.1"
        ) from None
    return text


def _seconds(value: Any) -> Any:
    """``90``, ``"90s"`` or ``"1m30s"`` as whole seconds."""
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value.strip())
    if not value.strip() or found is None:
        raise ValueError(f"{value!r} is no duration: write seconds, or such as 30s, 2m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def _dim(size: int) -> int:
    if size == 0 or not -1 <= size < 2**63:
        raise ValueError(f"{size} is no size: dims are 1 or more, or -1 for any")
    return size


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise ValueError(f"{text!r} is no {what}")
        return text

    return AfterValidator(check)


SemanticVersion = Annotated[str, AfterValidator(_semantic)]
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
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^(\d+h)?(\d+m)?(\d+s)?$"}]}
    ),
]
Memory = Annotated[str, _matching(_MEMORY, "amount of memory: write such as 512Mi or 2Gi")]
Cpu = Annotated[str, _matching(_CPU, "amount of CPU: write such as 500m or 2")]
Dim = Annotated[
    int,
    AfterValidator(_dim),
    WithJsonSchema({"type": "integer", "minimum": -1, "maximum": 2**63 - 1, "not": {"const": 0}}),
]

__all__ = [
    "U32",
    "U64",
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
