"""The last section of a test run's output: missing parts with the tests that did not run, and other skipped tests."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from typing import Any

from tests.parts.lookup import MISSING


def reasons(reports: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """File and reason of each test that did not run. `reports` are pytest's reports of skipped, failed and error outcomes."""
    for report in reports:
        text = report.longrepr[2] if isinstance(report.longrepr, (tuple, list)) else str(report.longrepr)
        text = text.removeprefix("Skipped: ").removeprefix("Failed: ").strip()
        if report.skipped or text.startswith(MISSING):
            yield report.nodeid.split("::")[0], text


def summary(reports: Iterable[Any]) -> list[str]:
    """A line for each reason, missing parts first, with its number of tests; the files of these tests follow."""
    files: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for file, reason in reasons(reports):
        files[reason][file] += 1
    lines = []
    for reason in sorted(files, key=lambda each: (not each.startswith(MISSING), each)):
        count = files[reason].total()
        lines.append(f"{reason}: {count} test{'s' * (count > 1)} not run")
        lines += [f"    {file} ({number})" for file, number in sorted(files[reason].items())]
    return lines
