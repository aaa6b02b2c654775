"""The known differences between the service and Triton, each under its reason: ``known_differences.txt``.

A line that begins with ``# `` is a reason; each line below it has the aspects that differ and, after a tab, the case.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_suffix(".txt")


@dataclass(frozen=True)
class KnownDifference:
    """The reason for the difference of one case, and the aspects of the responses that differ."""

    reason: str
    aspects: tuple[str, ...]


def known_differences() -> dict[str, KnownDifference]:
    """The differences by the names of the cases."""
    found: dict[str, KnownDifference] = {}
    reason = ""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            reason = line[2:]
        elif line:
            aspects, _, case = line.partition("\t")
            assert reason and case not in found, line
            found[case] = KnownDifference(reason, tuple(aspects.split(",")))
    return found
