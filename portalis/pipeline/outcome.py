"""How a stage ended: it produced something, was skipped for a reason, or failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TypeAlias

from ..contracts.errors import PackagingStage
from ..target import Made, StageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced:
    """What was made; `made.errors` are what could not be made beside it."""

    made: Made
    files: tuple[PurePosixPath, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Nobody wanted it."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Nothing could be made. `made` has what is kept all the same, such as a build's files, without an artifact."""

    errors: tuple[StageError, ...]
    made: Made = field(default_factory=Made)
    files: tuple[PurePosixPath, ...] = ()


Outcome: TypeAlias = Produced | Skipped | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage that has ended."""

    name: str
    title: str
    stage: PackagingStage
    outcome: Outcome
    seconds: float

    @property
    def errors(self) -> tuple[StageError, ...]:
        """What could not be made."""
        if isinstance(self.outcome, Produced):
            return self.outcome.made.errors
        return self.outcome.errors if isinstance(self.outcome, Failed) else ()

    @property
    def made(self) -> Made:
        """What was made, nothing included."""
        return Made() if isinstance(self.outcome, Skipped) else self.outcome.made

    @property
    def files(self) -> tuple[PurePosixPath, ...]:
        """The files that it wrote."""
        return () if isinstance(self.outcome, Skipped) else self.outcome.files
