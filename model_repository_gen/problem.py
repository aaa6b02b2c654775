"""One thing that is wrong with a model's configuration or its folder, and how bad that is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from .. import problems


class Severity(str, Enum):
    """What Triton does about it."""

    ERROR = "error"  # it refuses to load the model
    WARNING = "warning"  # it loads the model, but not as the configuration says; or it depends on the server


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem(problems.Problem):
    """`where` is a path in the configuration (``input[0].dims``), or a file or folder of the model."""

    severity: Severity = Severity.ERROR


Problems: TypeAlias = Iterator[Problem]


def warning(where: str, message: str, remediation: str) -> Problem:
    return Problem(where=where, message=message, remediation=remediation, severity=Severity.WARNING)


def error(where: str, message: str, remediation: str) -> Problem:
    return Problem(where=where, message=message, remediation=remediation)
