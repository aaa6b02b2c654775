"""The result of a pipeline run as lines for a terminal: artifacts, warnings, errors and their remediations."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..escaping import printable
from ..quantities import file_size

if TYPE_CHECKING:
    from ..contracts.output import PackagingAgentOutput

SERVED = ("wasm", "python")  # the backends in `portalis serve`
TITLES = {
    "success": "packaged",
    "partial_success": "packaged in part",
    "failure": "nothing was packaged; the output directory is unchanged",
}


def diagnostic_lines(result: PackagingAgentOutput, *, quiet: bool) -> Iterator[str]:
    """Lines for the errors and, unless `quiet`, the warnings."""
    for error in result.diagnostics.errors:
        yield from _block("error", error.message, error.remediation.summary)
        yield from (f"    {printable(step)}" for step in error.remediation.steps)
    if not quiet:
        for warning in result.diagnostics.warnings:
            yield from _block("warning", warning.message, warning.remediation)


def _block(kind: str, message: str, remediation: str) -> Iterator[str]:
    first, *more = message.splitlines() or [""]
    yield f"{kind}: {printable(first)}"
    yield from (f"  {printable(line)}" for line in (*more, *remediation.splitlines()))


def result_lines(result: PackagingAgentOutput, output: Path) -> Iterator[str]:
    """Lines for the artifacts and the next steps."""
    status, metadata = result.status.value, result.package_metadata
    if status == "failure":
        yield TITLES[status]
        return
    count = f"{metadata.total_artifacts} artifact{'' if metadata.total_artifacts == 1 else 's'}"
    yield (
        f"{TITLES[status]}: {count}, {file_size(metadata.total_size_bytes)},"
        f" {result.packaging_metrics.packaging_time_seconds:.2f} s, in {printable(str(output))}"
    )
    yield from _next_steps(result)


def image_lines(result: PackagingAgentOutput, output: Path) -> Iterator[str]:
    """Lines for the images and their smoke tests."""
    if result.status.value == "failure":
        yield "no image was built"
        return
    smoke_tests = {each.name: each for each in result.diagnostics.validation_results}
    for image in result.artifacts.nim_containers:
        reference = image.reference
        yield printable(reference)
        yield f"  id: {printable(image.image_id)}"
        yield f"  size: {file_size(image.image_size_bytes)} in {len(image.layers)} layers"
        yield f"  smoke test: {printable(smoke_tests[reference].report) if reference in smoke_tests else 'not run'}"
        if image.image_archive_path is not None:
            yield f"  archive: {printable(image.image_archive_path)}"
    count = len(result.artifacts.nim_containers)
    seconds = result.packaging_metrics.nim_generation_time
    yield f"{count} image{'' if count == 1 else 's'} in {seconds:.1f} s, with contexts in {printable(str(output))}"


def _next_steps(result: PackagingAgentOutput) -> Iterator[str]:
    models = result.artifacts.triton_models
    if any(model.platform in SERVED for model in models):
        repository = Path(models[0].model_repository_path).parent
        yield f"  serve the models: portalis serve {printable(shlex.quote(str(repository)))}"
    for archive in result.artifacts.distribution_archives:
        yield f"  archive: {printable(archive.archive_path)}"
    for image in result.artifacts.nim_containers:
        yield f"  image: {printable(image.reference)}"
