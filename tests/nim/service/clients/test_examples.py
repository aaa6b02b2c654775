"""Our programs that do the same as Triton's Python client examples, against the service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .runs import NO_PROGRAM, Run, all_runs
from .target import Target

RUNS = tuple(all_runs())
# runs that need a feature in work, and the feature
PENDING = {
    "control": ("model_control",),
    "seq": ("sequence",),
    "compare": ("http_infer_client", "http_aio_infer_client", "explicit_int", "health_metadata"),
}


def _cases() -> Iterator[object]:
    for run in RUNS:
        if run.unsupported:
            continue
        marks = [
            pytest.mark.xfail(reason=f"to do: {owner}", strict=False)
            for owner, names in PENDING.items()
            if any(name in run.name for name in names)
        ]
        yield pytest.param(run, id=run.name, marks=marks)


def test_names_of_runs_are_unique() -> None:
    assert len({run.name for run in RUNS}) == len(RUNS)


def test_only_runs_without_a_program_are_unsupported() -> None:
    assert all(run.unsupported in NO_PROGRAM for run in RUNS if run.program is None)
    assert all(not run.unsupported for run in RUNS if run.program is not None)


@pytest.mark.parametrize("run", list(_cases()))
@pytest.mark.service
def test_the_service_serves_what_an_example_needs(service_target: Target, run: Run) -> None:
    assert run.program is not None
    run.program(service_target)
