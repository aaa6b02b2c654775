"""The outcome of a stage: it produced artifacts, was skipped, or failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TypeAlias

from ..contracts.errors import PackagingStage
from ..target import StageError, TargetResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced:
    """A stage with artifacts; `result.errors` are about those that failed."""

    result: TargetResult
    files: tuple[PurePosixPath, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A stage that did not run. It has `errors` if its artifacts were requested."""

    reason: str
    errors: tuple[StageError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A stage without artifacts. `result` and `files` are retained nevertheless, for example the log of a build."""

    errors: tuple[StageError, ...]
    result: TargetResult = field(default_factory=TargetResult)
    files: tuple[PurePosixPath, ...] = ()


Outcome: TypeAlias = Produced | Skipped | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage that has ended.

    `requested_by` is the key or option that requests its artifacts; None for a stage that only follows from others.
    """

    name: str
    title: str
    stage: PackagingStage
    outcome: Outcome
    seconds: float
    requested_by: str | None = None

    @property
    def errors(self) -> tuple[StageError, ...]:
        """The errors of artifacts that failed."""
        return self.outcome.result.errors if isinstance(self.outcome, Produced) else self.outcome.errors

    @property
    def result(self) -> TargetResult:
        """The target's result; an empty one for a skipped stage."""
        return TargetResult() if isinstance(self.outcome, Skipped) else self.outcome.result

    @property
    def files(self) -> tuple[PurePosixPath, ...]:
        """The files that the stage wrote."""
        return () if isinstance(self.outcome, Skipped) else self.outcome.files


def usable_count(result: TargetResult) -> int:
    """The number of artifacts that no validation rejected, and of those in a registry."""
    rejected = {each.name for each in result.validation_results if each.tried and not each.valid}
    artifacts = result.artifacts
    names = [model.model_name for model in artifacts.triton_models]
    names += [extension.extension_name for extension in artifacts.omniverse_packages]
    return artifacts.total_artifacts_count() - sum(name in rejected for name in names) + len(result.published)
