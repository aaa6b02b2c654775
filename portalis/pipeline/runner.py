"""Runs every target of a package in order, over one staging folder that becomes the output directory at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from ..contracts.output import PackagingAgentOutput, Status
from ..errors import PortalisError
from ..escaping import escape_hidden
from ..manifest_text import manifest_name, manifest_text
from ..output import REPORT, OutputTree, Staging
from ..spec import PackageSpec
from ..target import Job, Module, StageError
from . import clock
from . import requested_targets as requests
from .completeness import validate_completeness
from .manifest_builder import make_manifest
from .options import Options
from .outcome import Outcome, Skipped, Stage
from .preflight import take_in
from .report import artifacts_of, make_report, status_of
from .stage import run_target
from .target_registry import TARGETS, Registered
from .upstream import Upstream


class Listener(Protocol):
    """Is told how a run goes."""

    def started(self, name: str, title: str) -> None:
        """A stage begins."""

    def said(self, text: str) -> None:
        """A stage has something to say, in a line."""

    def ended(self, stage: Stage) -> None:
        """A stage has ended."""


@dataclass(slots=True, kw_only=True)
class Run:
    """A run under way."""

    spec: PackageSpec
    options: Options
    listener: Listener
    modules: tuple[Module, ...]
    upstream: Upstream
    staging: Staging
    created_at: str
    stages: list[Stage] = field(default_factory=list)
    unmet: list[StageError] = field(default_factory=list)
    """What no stage tells: of the run as a whole."""
    stopped: bool = False

    def job(self) -> Job:
        """What the next target works on."""
        output = self.spec.output_directory
        return Job(
            spec=self.spec,
            modules=self.modules,
            output=output,
            staging=self.staging.folder,
            previous=output if (output / REPORT).is_file() else None,
            made=artifacts_of(self.stages),
            files=self.staging.files,
            manifest=lambda: make_manifest(
                self.spec, self.modules, self.upstream, self.stages, self.unmet, self.staging.files, self.created_at
            ),
            created_at=self.created_at,
            live=self.options.live,
            tries_images=self.options.tries_images,
            say=self.listener.said,
        )

    def add_unmet(self, errors: Iterable[StageError]) -> None:
        """Note what was asked of the run as a whole and not made; it stops a run that is to stop at the first error."""
        self.unmet += errors
        self.stopped = self.stopped or (bool(self.unmet) and self.spec.fail_on_partial_errors)


def package(
    spec: PackageSpec, options: Options, listener: Listener, *, source: str = "the spec"
) -> PackagingAgentOutput:
    """Package what `spec` (read from `source`) describes, and write its output directory, if anything was made.

    A target that fails is told in the report, and the others run on. Raises InputProblems and UsageError for what is
    wrong with the input, before anything is written, and PortalisError where the output cannot be written; the output
    directory then is as it was.
    """
    began = time.monotonic()
    timestamp, created_at = clock.now(), clock.creation_time()
    taken = take_in(spec, options, source)
    try:
        with Staging(spec.output_directory) as staging:
            run = Run(
                spec=spec,
                options=options,
                listener=listener,
                modules=taken.modules,
                upstream=taken.upstream,
                staging=staging,
                created_at=created_at,
            )
            _run_stages(run)
            return _finish(run, timestamp, began)
    except OSError as error:
        raise PortalisError(
            f"cannot write {error.filename or spec.output_directory}: {error.strerror or error}",
            remediation=f"{spec.output_directory} is as it was. Make room or give permission, and package again.",
        ) from error


def _run_stages(run: Run) -> None:
    run.add_unmet(requests.stranded(run.spec, run.options, run.modules))
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
            asked_by=requests.asked_by(name, run.options),
        )
        run.stages.append(stage)
        run.listener.ended(stage)
        run.stopped = run.stopped or (bool(stage.errors) and run.spec.fail_on_partial_errors)
    if run.options.live and not run.stopped:
        run.add_unmet(requests.untried(run.stages))


def _outcome(run: Run, name: str, registered: Registered) -> Outcome:
    """Run a target, unless the command line, the spec or an earlier failure leaves it out."""
    if run.stopped:
        return Skipped(reason="an earlier stage failed, and fail_on_partial_errors is true")
    if (reason := run.options.leaves_out(name)) is not None:
        return Skipped(reason=reason)
    if (reason := registered.load().skip_reason(run.spec)) is not None:
        return requests.turned_off(name, reason, run.options)
    run.listener.started(name, registered.title)
    outcome = requests.checked(run_target(registered, run.job(), run.staging))
    by = requests.asked_by(name, run.options)
    return requests.not_made(name, by, outcome) if isinstance(outcome, Skipped) and by is not None else outcome


def _finish(run: Run, timestamp: str, began: float) -> PackagingAgentOutput:
    """Write manifest and report, and put everything in place; a failed run leaves what was there."""
    status = status_of(run.stages, run.unmet, stopped=run.stopped)
    if status is Status.Failure and not run.unmet and not any(stage.errors for stage in run.stages):
        run.unmet.append(requests.nothing_made(run.stages))
    manifest = run.job().manifest() if status is not Status.Failure else None
    if manifest is not None:
        kind = run.spec.distribution_config.manifest_format
        tree = OutputTree()
        tree.text(manifest_name(kind), manifest_text(manifest, kind))
        list(run.staging.write(tree))
        validate_completeness(artifacts_of(run.stages), run.staging)
    logs = [error.log for stage in run.stages for error in stage.errors if error.log is not None]
    kept = run.staging.rescue(logs) if status is Status.Failure else run.spec.output_directory
    report = make_report(
        status=status,
        stages=run.stages,
        unmet=run.unmet,
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
        tree.text(REPORT, escape_hidden(report.model_dump_json(indent=2, by_alias=True)))
        list(run.staging.write(tree))
        run.staging.commit()
    return report
