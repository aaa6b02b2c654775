"""Adds published artifacts to the report of an output directory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..contracts.output import PackagingAgentOutput
from ..contracts.published import PublishedArtifact
from ..digests import file_digest
from ..output.package_layout import PUBLISH_SCRIPT
from ..output.report_file import replace_report
from .published_package import Package


def record_published(
    folder: Path, report: PackagingAgentOutput, package: Package, published: Iterable[PublishedArtifact]
) -> None:
    """Replace the report on disk by one with what was published, and with the checksum of the publishing script if it
    exists. Raises OSError."""
    script = folder / PUBLISH_SCRIPT
    script_sha256 = file_digest(script).sha256 if script.is_file() else None
    replace_report(folder, _with_published(report, package, published, script_sha256))


def _with_published(
    report: PackagingAgentOutput, package: Package, published: Iterable[PublishedArtifact], script_sha256: str | None
) -> PackagingAgentOutput:
    """`report` with the artifacts in `published`, which replace earlier entries of the same repository and digest."""
    entries = {(each.repository, each.digest): each for each in (*report.published, *published)}
    checksums, script = dict(report.package_metadata.checksums), str(package.root / PUBLISH_SCRIPT)
    checksums.pop(script, None)
    if script_sha256 is not None:
        checksums[script] = script_sha256
    metadata = report.package_metadata.model_copy(update={"checksums": checksums})
    return report.model_copy(update={"published": tuple(entries.values()), "package_metadata": metadata})
