"""What a spec says in so many words that an archive is to have, and that there is nothing of to put into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...contracts.output import PackagingWarning, WarningSeverity
from ...target import Job
from .contents import DOCS
from .rust_source import workspace_root


def nothing_to_include(job: Job) -> Iterator[PackagingWarning]:
    """A warning for each ``include_…`` key that is given as true, and without effect. Raises StageError for a report of
    the build that cannot be read."""
    spec, config = job.spec, job.spec.distribution_config
    there: dict[str, tuple[Callable[[], bool], str]] = {
        "include_source_rust": (lambda: workspace_root(spec) is not None, "build_metadata names no workspace_root"),
        "include_test_reports": (
            lambda: spec.test_results is not None or spec.parity_report is not None,
            "neither test_results nor parity_report is given",
        ),
        "include_benchmarks": (lambda: spec.benchmarks is not None, "benchmarks is not given"),
        "include_documentation": (
            lambda: any(path.parts[0] == DOCS for path in job.files),
            "no documents were made",
        ),
    }
    for key, (is_there, why) in there.items():
        if key in config.model_fields_set and getattr(config, key) and not is_there():
            yield PackagingWarning(
                message=f"distribution_config.{key} is true and adds nothing to the archive: {why}",
                severity=WarningSeverity.Low,
                remediation=f"Give what is missing, or leave {key} out.",
            )
