"""Runs all targets of a package in order, in one staging directory that becomes the output directory at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from ..contracts.output import PackagingAgentOutput, Status
from ..errors import PortalisError
from ..manifest_text import manifest_name, manifest_text
from ..output import REPORT, OutputTree, Staging
from ..output.report_file import report_text
from ..spec import PackageSpec
from ..target import Job, Module, StageError
from .clock import creation_time, now
from .completeness import validate_completeness
from .manifest_builder import build_manifest
from .options import Options
from .outcome import Outcome, Skipped, Stage
from .preflight import preflight
from .report import build_report, run_artifacts, run_status
from .requested_targets import (
    disabled_by_spec,
    empty_run_error,
    nothing_generated,
    nothing_validated,
    requested_by,
    require_validation,
    unservable_modules,
)
from .stage import run_target
from .target_registry import TARGETS, RegisteredTarget
from .upstream import Upstream


class Listener(Protocol):
    """Receives the events of a run."""

    def started(self, name: str, title: str) -> None:
        """A stage has started."""

    def progressed(self, text: str) -> None:
        """A stage reports its progress in one line."""

    def ended(self, stage: Stage) -> None:
        """A stage has ended."""


@dataclass(slots=True, kw_only=True)
class Run:
    """The state of a run."""

    spec: PackageSpec
    options: Options
    listener: Listener
    modules: tuple[Module, ...]
    upstream: Upstream
    staging: Staging
    created_at: str
    stages: list[Stage] = field(default_factory=list)
    errors: list[StageError] = field(default_factory=list)
    """Errors of the whole run, which belong to no stage."""
    stopped: bool = False
    """Whether the remaining stages are skipped."""

    def job(self) -> Job:
        """The input of the next target."""
        output = self.spec.output_directory
        return Job(
            spec=self.spec,
            modules=self.modules,
            output=output,
            staging=self.staging.folder,
            previous=output if (output / REPORT).is_file() else None,
            artifacts=run_artifacts(self.stages),
            files=self.staging.files,
            manifest=lambda: build_manifest(
                self.spec, self.modules, self.upstream, self.stages, self.errors, self.staging.files, self.created_at
            ),
            created_at=self.created_at,
            live=self.options.live,
            smoke_tests_images=self.options.smoke_tests_images,
            report=self.listener.progressed,
        )

    def add_errors(self, errors: Iterable[StageError]) -> None:
        """Add errors of the whole run. With `fail_on_partial_errors` they stop it."""
        self.errors += errors
        self.stopped = self.stopped or (bool(self.errors) and self.spec.fail_on_partial_errors)


def run_pipeline(
    spec: PackageSpec, options: Options, listener: Listener, *, source: str = "the spec"
) -> PackagingAgentOutput:
    """Package `spec` (read from `source`), and write its output directory if any artifact was generated.

    If a target fails, the report has its errors and the others still run. Raises InputProblems and UsageError for
    invalid input before anything is written, and PortalisError if the output cannot be written; the output directory is
    then unchanged.
    """
    began = time.monotonic()
    timestamp, created_at = now(), creation_time()
    inputs = preflight(spec, options, source)
    try:
        with Staging(spec.output_directory) as staging:
            run = Run(
                spec=spec,
                options=options,
                listener=listener,
                modules=inputs.modules,
                upstream=inputs.upstream,
                staging=staging,
                created_at=created_at,
            )
            _run_stages(run)
            return _finish(run, timestamp, began)
    except OSError as error:
        raise PortalisError(
            f"cannot write {error.filename or spec.output_directory}: {error.strerror or error}",
            remediation=f"{spec.output_directory} is unchanged. Free space or grant permission, and package again.",
        ) from error


def _run_stages(run: Run) -> None:
    run.add_errors(unservable_modules(run.spec, run.options, run.modules))
    for name, registered in TARGETS.items():
        began = time.monotonic()
        outcome = _outcome(run, name, registered)
        ran = not isinstance(outcome, Skipped)
        stage = Stage(
            name=name,
            title=registered.title,
            stage=registered.stage,
            outcome=outcome,
            seconds=time.monotonic() - began if ran else 0.0,
            requested_by=requested_by(name, run.options),
        )
        run.stages.append(stage)
        run.listener.ended(stage)
        run.stopped = run.stopped or (bool(stage.errors) and run.spec.fail_on_partial_errors)
    if run.options.live and not run.stopped:
        run.add_errors(nothing_validated(run.stages))


def _outcome(run: Run, name: str, registered: RegisteredTarget) -> Outcome:
    """Run a target, unless the command line, the spec or an earlier failure skips it."""
    if run.stopped:
        return Skipped(reason="an earlier stage failed, and fail_on_partial_errors is true")
    if (reason := run.options.skip_reason(name)) is not None:
        return Skipped(reason=reason)
    if (reason := registered.load().skip_reason(run.spec)) is not None:
        return disabled_by_spec(name, reason, run.options)
    run.listener.started(name, registered.title)
    outcome = require_validation(run_target(registered, run.job(), run.staging))
    requester = requested_by(name, run.options)
    if isinstance(outcome, Skipped) and requester is not None:
        return nothing_generated(name, requester, outcome)
    return outcome


def _finish(run: Run, timestamp: str, began: float) -> PackagingAgentOutput:
    """Write manifest and report, and replace the output directory; a failed run leaves it unchanged."""
    status = run_status(run.stages, run.errors, stopped=run.stopped)
    if status is Status.Failure and not run.errors and not any(stage.errors for stage in run.stages):
        run.errors.append(empty_run_error(run.stages))
    manifest = run.job().manifest() if status is not Status.Failure else None
    if manifest is not None:
        kind = run.spec.distribution_config.manifest_format
        tree = OutputTree()
        tree.text(manifest_name(kind), manifest_text(manifest, kind))
        list(run.staging.write(tree))
        validate_completeness(run_artifacts(run.stages), run.staging)
    logs = [error.log for stage in run.stages for error in stage.errors if error.log is not None]
    kept = run.staging.rescue(logs) if status is Status.Failure else run.spec.output_directory
    report = build_report(
        status=status,
        stages=run.stages,
        run_errors=run.errors,
        files=run.staging.files,
        output=run.spec.output_directory,
        logs=kept,
        manifest=manifest,
        engine=run.spec.container_config.runtime.value,
        pipeline_id=run.spec.run_id,
        timestamp=timestamp,
        seconds=time.monotonic() - began,
    )
    if status is not Status.Failure:
        tree = OutputTree()
        tree.text(REPORT, report_text(report))
        list(run.staging.write(tree))
        run.staging.commit()
    return report
