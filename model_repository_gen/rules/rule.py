"""A rule's input and output: the context of a configuration, and the problems found in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from ...problems import Problem

ENSEMBLE = "ensemble"
PYTHON_BASED = ("python", "wasm")
ENVIRONMENT, MODEL_DIRECTORY = "EXECUTION_ENV_PATH", "$$TRITON_MODEL_DIRECTORY"


class ConfigSeverity(str, Enum):
    """What Triton does about it."""

    ERROR = "error"  # it refuses to load the model
    WARNING = "warning"  # it loads the model, but not as the configuration says; or it depends on the server


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigProblem(Problem):
    """`where` is a path in the configuration (``input[0].dims``), or a file or folder of the model."""

    severity: ConfigSeverity = ConfigSeverity.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleContext:
    """The model's `folder`, where it is there; whether the server may complete tensors (`auto_complete`, Triton's
    default, for which the backend has to know them); the `backends` of the server, where they are known."""

    folder: Path | None = None
    auto_complete: bool = False
    backends: Collection[str] | None = None


Problems: TypeAlias = Iterator[ConfigProblem]


def warning(where: str, message: str, remediation: str) -> ConfigProblem:
    return ConfigProblem(where=where, message=message, remediation=remediation, severity=ConfigSeverity.WARNING)


def error(where: str, message: str, remediation: str) -> ConfigProblem:
    return ConfigProblem(where=where, message=message, remediation=remediation)
