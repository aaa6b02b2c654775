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
        """`log` is a file of `TargetResult.added`; it is kept even if the stage's other files are not.

        `no_engine` means that no container engine is available.
        """
        super().__init__(message, remediation=remediation)
        self.kind = kind
        self.steps = tuple(steps)
        self.details = details
        self.log = log
        self.no_engine = no_engine

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the artifacts that failed, if the details have them."""
        details = {} if self.details is None else self.details.model_dump()
        return tuple(name for key in _FAILED for name in details.get(key, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module of the package: its table in the spec, and its inspection."""

    name: str
    path: Path
    binary: WasmBinaryPath
    inspection: Inspection


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The input of a target. Files are written to `staging`, which replaces `output` at the end of the run."""

    spec: PackageSpec
    modules: tuple[Module, ...]
    output: Path
    staging: Path
    previous: Path | None
    """The output directory of an earlier run, if it exists."""
    artifacts: Artifacts
    """The artifacts of earlier stages."""
    files: Mapping[PurePosixPath, Written]
    """All files in the staging directory so far."""
    manifest: Callable[[], PackageManifest]
    """Builds the manifest of all artifacts so far."""
    created_at: str
    """The creation time to write into artifacts: SOURCE_DATE_EPOCH, or the start of the run."""
    live: bool
    """Whether to validate artifacts on real servers."""
    report: Callable[[str], None]
    """Shows a short line of progress to the user."""
    smoke_tests_images: bool = True
    """Whether to start and call images after they are built."""

    def final(self, path: PurePosixPath | str) -> str:
        """The absolute path of an output file after the run, for a report."""
        return str(self.output / path)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """The output of a target: files, artifacts for the report, and errors of artifacts that failed."""

    tree: OutputTree = field(default_factory=OutputTree)
    artifacts: Artifacts = field(default_factory=Artifacts)
    errors: tuple[StageError, ...] = ()
    warnings: tuple[PackagingWarning, ...] = ()
    validation_results: tuple[ValidationResult, ...] = ()
    added: OutputTree = field(default_factory=OutputTree)
    """Files that `run` adds to those in `tree`, for example logs."""
    tool_outputs: tuple[PurePosixPath, ...] = ()
    """Files in the staging directory that a tool wrote during `run`."""
    published: tuple[PublishedArtifact, ...] = ()
    """Artifacts that are in a registry now."""
    skipped: str | None = None
    """The reason for an empty result that depends on earlier stages or on this machine, and not only on the spec.

    `errors` are about requested artifacts.
    """


class Target(Protocol):
    """The functions of a target's module."""

    def skip_reason(self, spec: PackageSpec) -> str | None:
        """The reason why the spec disables this target; None if it is enabled."""

    def spec_problems(self, spec: PackageSpec) -> Iterable[Problem]:
        """The values in the spec that this target rejects, for example invalid names."""

    def generate(self, job: Job) -> TargetResult:
        """Generate the target's files. Raises StageError if none can be generated."""

    def run(self, job: Job, result: TargetResult, /) -> TargetResult:
        """Run external tools on the written files of `result`; returns the final result. Raises StageError."""
