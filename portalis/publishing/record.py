"""The report of an output directory: read before publishing, and updated with what was published."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from ..atomic_files import replacing
from ..contracts.output import PackagingAgentOutput
from ..contracts.published import PublishedArtifact
from ..digests import file_digest
from ..errors import UsageError
from ..escaping import escape_hidden
from ..output.package_layout import PUBLISH_SCRIPT, REPORT
from .published_package import PACKAGE_AGAIN, Package

_MAX_REPORT_BYTES = 256 << 20


def read_report(folder: Path) -> PackagingAgentOutput:
    """The report in an output directory. Raises UsageError if it is missing or invalid, or if the run failed."""
    path = folder / REPORT
    try:
        if path.stat().st_size > _MAX_REPORT_BYTES:
            raise UsageError(
                f"{path} is not a report: it exceeds {_MAX_REPORT_BYTES >> 20} MiB", remediation=PACKAGE_AGAIN
            )
        report = PackagingAgentOutput.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"{folder} is not an output directory: {REPORT} is missing",
            remediation="Name a directory that `portalis package` wrote.",
        ) from None
    except (ValidationError, UnicodeDecodeError):
        raise UsageError(f"{path} is not a report of this version of portalis", remediation=PACKAGE_AGAIN) from None
    if report.package_metadata.package_manifest is None:
        raise UsageError(f"{path} is the report of a failed run", remediation=PACKAGE_AGAIN)
    return report


def record_published(
    folder: Path, report: PackagingAgentOutput, package: Package, published: Iterable[PublishedArtifact]
) -> None:
    """Replace the report on disk by one with what was published, and with the checksum of the publishing script if it
    exists. Raises OSError."""
    script = folder / PUBLISH_SCRIPT
    script_sha256 = file_digest(script).sha256 if script.is_file() else None
    updated = _with_published(report, package, published, script_sha256)
    path = folder / REPORT
    with replacing(path, mode=stat.S_IMODE(path.stat().st_mode)) as temporary:
        temporary.write_text(escape_hidden(updated.model_dump_json(indent=2, by_alias=True)), encoding="utf-8")


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
