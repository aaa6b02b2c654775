"""Prints each difference between a real Triton and the service, and whether the table lists it.

``python -m tests.nim.service.compare [FRAGMENT]``: only the cases whose names contain FRAGMENT.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from portalis.tritonserver import create_backend_directory
from tests import parts

from .comparison import all_cases, differences
from .known_differences import known_differences
from .serving import both_servers


def main(fragment: str = "") -> None:
    """Compare, and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backends = folder / "backends"
        backends.mkdir()
        create_backend_directory(backends, install=parts.tritonserver())
        with both_servers(folder, backends) as (triton, service):
            cases = [case for case in all_cases() if fragment in case.name]
            known = known_differences()
            for case in cases:
                found = differences(case, triton, service)
                if found:
                    entry = known.get(case.name)
                    print(f"\n{case.name}  [{entry.reason if entry else 'NOT IN THE TABLE'}]")
                for aspect, (theirs, ours) in found.items():
                    print(f"  {aspect}\n    triton:  {theirs!r:.600}\n    service: {ours!r:.600}")
            print(f"\n{len(cases)} cases")


main(*sys.argv[1:])
