"""The protocol of packaging targets: modules with the functions of `Target`, from spec and inspected modules to files.

A target returns its files as a value (`TargetResult`), which the pipeline writes. Work with external tools (building an
image, validating on a real server) follows in `run`, on the files in the staging directory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from .contracts.errors import ErrorDetails, ErrorType
from .contracts.output import Artifacts, PackagingWarning, ValidationResult
from .contracts.package_manifest import PackageManifest
from .contracts.published import PublishedArtifact
from .errors import PortalisError
from .output import OutputTree, Written
from .problems import Problem
from .spec import PackageSpec, WasmBinaryPath

if TYPE_CHECKING:
    from .inspection import Inspection

_FAILED = ("failed_containers", "failed_models", "incompatible_modules", "failed_archives")


class StageError(PortalisError):
    """A failure of a stage: raised if the whole stage failed, else one of the errors of a `TargetResult`."""

    def __init__(
        self,
        kind: ErrorType,
        message: str,
        *,
        remediation: str,
        steps: Iterable[str] = (),
        details: ErrorDetails | None = None,
        log: PurePosixPath | None = None,
        no_engine: bool = False,
    ) -> None:
        """`log` is a file of `TargetResult.tool_outputs` with the details; it is kept even if nothing else is.
        `no_engine`: no container engine is available."""
        super().__init__(message, remediation=remediation)
        self.kind = kind
        self.steps = tuple(steps)
        self.details = details
        self.log = log
        self.no_engine = no_engine

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of what was not made, where the details have them."""
        found = {} if self.details is None else self.details.model_dump()
        return tuple(name for key in _FAILED for name in found.get(key, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module of the package: what the spec says of it, and what inspection found."""

    name: str
    path: Path
    binary: WasmBinaryPath
    inspection: Inspection


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a target works on. `staging` has all that was written so far; `output` is where it will be in the end."""

    spec: PackageSpec
    modules: tuple[Module, ...]
    output: Path
    staging: Path
    previous: Path | None
    """The output directory of an earlier run, where there is one."""
    made: Artifacts
    """What the earlier stages made."""
    files: Mapping[PurePosixPath, Written]
    """All files that were written so far."""
    manifest: Callable[[], PackageManifest]
    """The manifest of what was made so far."""
    created_at: str
    """The time that goes into what is made: SOURCE_DATE_EPOCH, or when the run began."""
    live: bool
    """Whether what is made is tried on real servers."""
    say: Callable[[str], None]
    """Tells the user of progress, in a short line."""
    tries_images: bool = True
    """Whether images are run once they are built."""

    def final(self, path: PurePosixPath | str) -> str:
        """Where the file `path` will be in the end, for a report."""
        return str(self.output / path)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """What a target made: its files, what the report says of them, and what could not be made beside them."""

    tree: OutputTree = field(default_factory=OutputTree)
    artifacts: Artifacts = field(default_factory=Artifacts)
    errors: tuple[StageError, ...] = ()
    warnings: tuple[PackagingWarning, ...] = ()
    validation_results: tuple[ValidationResult, ...] = ()
    tool_outputs: tuple[PurePosixPath, ...] = ()
    """Files that `run` had a tool write into the staging folder."""
    published: tuple[PublishedArtifact, ...] = ()
    """What is in a registry now."""
    skipped: str | None = None
    """Why nothing is made, where that only shows here: in what the earlier stages made, or on this machine. `errors`
    say what of it was asked for."""


class Target(Protocol):
    """The functions of a target's module."""

    def skip_reason(self, spec: PackageSpec) -> str | None:
        """Why the spec does not want this target; None where it does."""

    def spec_problems(self, spec: PackageSpec) -> Iterable[Problem]:
        """What in the spec this target cannot work with, such as names that are not valid for it."""

    def generate(self, job: Job) -> TargetResult:
        """Make the files. Raises StageError where nothing can be made."""

    def run(self, job: Job, made: TargetResult) -> TargetResult:
        """Go on with what was written; the result stands in place of `made`. Raises StageError."""
