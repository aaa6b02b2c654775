"""The last section of a run: which real parts were missing, what was not run for it, and what else was skipped."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from typing import Any

from tests.parts.lookup import MISSING


def reasons(reports: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """The file of each test that did not run, and why. `reports` are skipped, failed or errored ones of pytest."""
    for report in reports:
        text = report.longrepr[2] if isinstance(report.longrepr, (tuple, list)) else str(report.longrepr)
        text = text.removeprefix("Skipped: ").removeprefix("Failed: ").strip()
        if report.skipped or text.startswith(MISSING):
            yield report.nodeid.split("::")[0], text


def summary(reports: Iterable[Any]) -> list[str]:
    """A line for each reason, missing parts first, with the number of its tests; below it their files."""
    files: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for file, reason in reasons(reports):
        files[reason][file] += 1
    lines = []
    for reason in sorted(files, key=lambda each: (not each.startswith(MISSING), each)):
        count = files[reason].total()
        lines.append(f"{reason}: {count} test{'s' * (count > 1)} not run")
        lines += [f"    {file} ({number})" for file, number in sorted(files[reason].items())]
    return lines
