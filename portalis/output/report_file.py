"""Reads and writes ``packaging-report.json``, the output contract's document, in an output directory."""

from __future__ import annotations

import stat
from pathlib import Path

from pydantic import ValidationError

from ..atomic_files import replacing
from ..contracts.output import PackagingAgentOutput
from ..errors import UsageError
from ..escaping import escape_hidden
from .package_layout import REPORT

PACKAGE_AGAIN = "Run `portalis package` again."
_MAX_REPORT_BYTES = 256 << 20


def report_text(report: PackagingAgentOutput) -> str:
    """The report as JSON, without a newline at its end."""
    return escape_hidden(report.model_dump_json(indent=2, by_alias=True))


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


def replace_report(folder: Path, report: PackagingAgentOutput) -> None:
    """Replace the report in an output directory in one step; the file keeps its mode. Raises OSError."""
    path = folder / REPORT
    with replacing(path, mode=stat.S_IMODE(path.stat().st_mode)) as temporary:
        temporary.write_text(report_text(report), encoding="utf-8")


def write_report(path: Path, report: PackagingAgentOutput) -> None:
    """Write a copy of the report to `path`, which can also be a device such as /dev/stderr. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report_text(report) + "\n", encoding="utf-8")
