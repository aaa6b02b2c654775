"""The input and output of a rule: the context of a model's configuration, and the problems found in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from ...problems import Problem

ENSEMBLE = "ensemble"
PYTHON_BASED = ("python", "wasm")
"""The backends whose models can run in Triton's Python backend."""
ENVIRONMENT, MODEL_DIRECTORY = "EXECUTION_ENV_PATH", "$$TRITON_MODEL_DIRECTORY"


class ConfigSeverity(str, Enum):
    """Triton's reaction to a problem."""

    ERROR = "error"
    """Triton rejects the model."""
    WARNING = (
        "warning"  # Triton loads the model but ignores part of the configuration, or the outcome depends on the server
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigProblem(Problem):
    """A problem of one model. `where` is a path in its configuration (``input[0].dims``), or a file or directory of
    the model."""

    severity: ConfigSeverity = ConfigSeverity.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleContext:
    """Facts that rules need besides the configuration."""

    folder: Path | None = None
    """The model's directory, if it exists."""
    auto_complete: bool = False
    """Whether the server may complete missing tensors, Triton's default. It requires a backend that knows them."""
    backends: Collection[str] | None = None
    """The names of the server's backends, if they are known."""


Problems: TypeAlias = Iterator[ConfigProblem]


def warning(where: str, message: str, remediation: str) -> ConfigProblem:
    """A problem with which Triton still loads the model."""
    return ConfigProblem(where=where, message=message, remediation=remediation, severity=ConfigSeverity.WARNING)


def error(where: str, message: str, remediation: str) -> ConfigProblem:
    """A problem because of which Triton rejects the model."""
    return ConfigProblem(where=where, message=message, remediation=remediation)
