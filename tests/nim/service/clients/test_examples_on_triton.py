"""The same programs against a real Triton: what they expect is what Triton does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from portalis.triton_client import load_model
from tests.running.waiting import PATIENCE_S

from .example_models import ENSEMBLE, all_models, simple_models, write_repository
from .image_runs import write_images
from .management_runs import CONTROLLED
from .runs import Run, all_runs
from .target import Target

if TYPE_CHECKING:
    from portalis.tritonserver import TritonServer


@pytest.fixture(scope="module")
def target(shared_triton: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Target:
    images = tmp_path_factory.mktemp("images")
    write_images(images)
    models = all_models()
    write_repository(shared_triton.repositories[0], models, ensemble=True)
    write_repository(shared_triton.repositories[0], {CONTROLLED: simple_models()["simple"]})
    for name in (*models, ENSEMBLE):
        load_model(shared_triton.grpc_url, name, timeout_s=PATIENCE_S)
    return Target(shared_triton.http_url, shared_triton.grpc_url, images)


def _cases() -> Iterator[object]:
    return (pytest.param(run, id=run.name) for run in all_runs() if not run.unsupported_by_triton)


@pytest.mark.parametrize("run", list(_cases()))
@pytest.mark.triton
def test_triton_serves_what_an_example_needs(target: Target, run: Run) -> None:
    assert run.program is not None
    run.program(target)
