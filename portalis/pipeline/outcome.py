"""How a stage ended: it produced something, was skipped for a reason, or failed; and what of it can be used."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TypeAlias

from ..contracts.errors import PackagingStage
from ..target import StageError, TargetResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced:
    """What was made; `made.errors` are what could not be made beside it."""

    made: TargetResult
    files: tuple[PurePosixPath, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Nothing was tried. `errors` say so where it was asked for."""

    reason: str
    errors: tuple[StageError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Nothing could be made. `made` has what is kept all the same, such as a build's files, without an artifact."""

    errors: tuple[StageError, ...]
    made: TargetResult = field(default_factory=TargetResult)
    files: tuple[PurePosixPath, ...] = ()


Outcome: TypeAlias = Produced | Skipped | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage that has ended. `asked_by` is the key or option that asks for what it makes; None where that only follows
    from what others make."""

    name: str
    title: str
    stage: PackagingStage
    outcome: Outcome
    seconds: float
    asked_by: str | None = None

    @property
    def errors(self) -> tuple[StageError, ...]:
        """What could not be made."""
        return self.outcome.made.errors if isinstance(self.outcome, Produced) else self.outcome.errors

    @property
    def made(self) -> TargetResult:
        """What was made, nothing included."""
        return TargetResult() if isinstance(self.outcome, Skipped) else self.outcome.made

    @property
    def files(self) -> tuple[PurePosixPath, ...]:
        """The files that it wrote."""
        return () if isinstance(self.outcome, Skipped) else self.outcome.files


def usable(made: TargetResult) -> int:
    """How many artifacts there are that no check has refused, and how many things are in a registry."""
    refused = {result.name for result in made.validation_results if result.tried and not result.valid}
    found = made.artifacts
    names = [model.model_name for model in found.triton_models]
    names += [extension.extension_name for extension in found.omniverse_packages]
    return found.total_artifacts_count() - sum(name in refused for name in names) + len(made.published)
