"""Triton's own client examples, unchanged, where they could be fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests import parts

from .original_examples import run_original
from .original_servers import service_target
from .runs import Run, service_runs
from .target import Target


@pytest.fixture(scope="module")
def find() -> Iterator[Callable[[Run], Target]]:
    with service_target() as find:
        yield find


@pytest.mark.parametrize("run", list(service_runs()))
@pytest.mark.service
def test_an_example_passes(find: Callable[[Run], Target], run: Run) -> None:
    folder = parts.triton_client_examples()
    assert run_original(folder, run, find(run)) == ""
