"""Our programs that do the same as Triton's Python client examples, against the service."""

from __future__ import annotations

import re

import pytest

from tests.parts import ROOT

from .runs import NO_PROGRAM, Run, all_runs, service_runs
from .target import Target

RUNS = tuple(all_runs())


def test_names_of_runs_are_unique() -> None:
    assert len({run.name for run in RUNS}) == len(RUNS)


def test_only_runs_without_a_program_are_unsupported() -> None:
    assert all(run.unsupported in NO_PROGRAM for run in RUNS if run.program is None)
    assert all(not run.unsupported for run in RUNS if run.program is not None)


def test_the_documentation_lists_the_examples_that_fail() -> None:
    section = (ROOT / "docs" / "service.md").read_text(encoding="utf-8").split("\n## Clients\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    documented = {example for row in rows for example in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert documented == {run.example for run in RUNS if run.unsupported}
    for reason in NO_PROGRAM:
        assert any(reason in row for row in rows), reason


@pytest.mark.parametrize("run", list(service_runs()))
@pytest.mark.service
def test_the_service_serves_what_an_example_needs(service_target: Target, run: Run) -> None:
    assert run.program is not None
    run.program(service_target)
