"""Prints each difference between a real Triton and the service, and whether the table lists it.

``python -m tests.nim.service.compare [FRAGMENT]``: only the cases whose names contain FRAGMENT.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from portalis.tritonserver import create_backend_directory
from tests import parts

from .comparison import all_cases, differences
from .control_cases import SettledCase, control_cases
from .exchange import Case, Server
from .known_differences import known_differences
from .serving import both_controlled, both_servers


def main(fragment: str = "") -> None:
    """Compare, and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backends = folder / "backends"
        backends.mkdir()
        create_backend_directory(backends, install=parts.tritonserver())
        if any(fragment in case.name for case in control_cases()):
            # all are sent, because each depends on those before
            _compare(both_controlled(folder, backends), control_cases(), fragment)
        if cases := [case for case in all_cases() if fragment in case.name]:
            _compare(both_servers(folder, backends), cases, fragment)


def _compare(
    starting: AbstractContextManager[tuple[Server, Server]], cases: Iterable[Case | SettledCase], fragment: str
) -> None:
    known, count = known_differences(), 0
    with starting as (triton, service):
        for case in cases:
            found = differences(case, triton, service)
            if fragment not in case.name:
                continue
            count += 1
            if found:
                entry = known.get(case.name)
                print(f"\n{case.name}  [{entry.reason if entry else 'NOT IN THE TABLE'}]")
            for aspect, (theirs, ours) in found.items():
                print(f"  {aspect}\n    triton:  {theirs!r:.600}\n    service: {ours!r:.600}")
    print(f"\n{count} cases")


main(*sys.argv[1:])
