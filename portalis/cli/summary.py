"""What a run of the pipeline comes to, for people: what was made, what to look at, what went wrong and what to do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..escaping import printable
from ..quantities import file_size

if TYPE_CHECKING:
    from ..contracts.output import PackagingAgentOutput

SERVED = ("wasm", "python")  # what the Triton of `portalis serve` has backends for
TITLES = {
    "success": "packaged",
    "partial_success": "packaged in part",
    "failure": "nothing was packaged; the output directory is as it was",
}


def troubles(made: PackagingAgentOutput, *, quiet: bool) -> Iterator[str]:
    """The lines about what went wrong and, unless `quiet`, about what to look at."""
    for error in made.diagnostics.errors:
        yield from _block("error", error.message, error.remediation.summary)
        yield from (f"    {printable(step)}" for step in error.remediation.steps)
    if not quiet:
        for warning in made.diagnostics.warnings:
            yield from _block("warning", warning.message, warning.remediation)


def _block(kind: str, message: str, remediation: str) -> Iterator[str]:
    first, *more = message.splitlines() or [""]
    yield f"{kind}: {printable(first)}"
    yield from (f"  {printable(line)}" for line in (*more, *remediation.splitlines()))


def result(made: PackagingAgentOutput, output: Path) -> Iterator[str]:
    """The lines about what was made, and what can be done with it."""
    status, metadata = made.status.value, made.package_metadata
    if status == "failure":
        yield TITLES[status]
        return
    count = f"{metadata.total_artifacts} artifact{'' if metadata.total_artifacts == 1 else 's'}"
    yield (
        f"{TITLES[status]}: {count}, {file_size(metadata.total_size_bytes)},"
        f" {made.packaging_metrics.packaging_time_seconds:.2f} s, in {printable(str(output))}"
    )
    yield from _next(made)


def images(made: PackagingAgentOutput, output: Path) -> Iterator[str]:
    """The lines about the images that were made, and how their trials went."""
    if made.status.value == "failure":
        yield "no image was built"
        return
    tried = {result.name: result for result in made.diagnostics.validation_results}
    for image in made.artifacts.nim_containers:
        reference = image.reference
        yield printable(reference)
        yield f"  id: {printable(image.image_id)}"
        yield f"  size: {file_size(image.image_size_bytes)} in {len(image.layers)} layers"
        yield f"  tried: {printable(tried[reference].report) if reference in tried else 'no'}"
        if image.image_archive_path is not None:
            yield f"  archive: {printable(image.image_archive_path)}"
    count = len(made.artifacts.nim_containers)
    seconds = made.packaging_metrics.nim_generation_time
    yield f"{count} image{'' if count == 1 else 's'} in {seconds:.1f} s, with contexts in {printable(str(output))}"


def _next(made: PackagingAgentOutput) -> Iterator[str]:
    models = made.artifacts.triton_models
    if any(model.platform in SERVED for model in models):
        repository = Path(models[0].model_repository_path).parent
        yield f"  serve the models: portalis serve {printable(shlex.quote(str(repository)))}"
    for archive in made.artifacts.distribution_archives:
        yield f"  archive: {printable(archive.archive_path)}"
    for image in made.artifacts.nim_containers:
        yield f"  image: {printable(image.reference)}"
