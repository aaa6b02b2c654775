"""Every row of the table by the native engine in a real Triton, and some by the Python engine in the same server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from portalis.tritonserver import TritonServer
from tests.backend.cases import on_triton
from tests.backend.cases.case import Case, Failure
from tests.backend.cases.on_triton import Client
from tests.backend.cases.table import table
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.triton
SERVED = on_triton.served(table().values())


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, wasm_backends: Path) -> Iterator[Client]:
    repository = tmp_path_factory.mktemp("cases")
    for case, engine in SERVED:
        on_triton.write_model(repository, case, engine)
    with TritonServer(repository, backend_directory=wasm_backends, start_timeout_s=PATIENCE_S) as triton:
        yield Client(triton)


@pytest.mark.parametrize(("case", "engine"), SERVED, ids=[f"{case.name}-{engine}" for case, engine in SERVED])
def test_triton_answers_as_the_table_says(client: Client, case: Case, engine: str) -> None:
    for number, (call, outcomes) in enumerate(zip(case.calls, client.run(case, engine), strict=True)):
        wanted = [on_triton.seen(answer, got) for answer, got in zip(call.answers, outcomes, strict=True)]
        assert outcomes == wanted, number


def test_what_the_guests_wrote_is_in_the_log(client: Client) -> None:
    for case, engine in SERVED:
        if case.lines:
            name = on_triton.model_name(case, engine)
            client.eventually(name, [f"{stream}: {line}" for stream, line in case.lines])


def test_triton_joined_what_fits_together(client: Client) -> None:
    for case, engine in SERVED:
        fits = all(not isinstance(answer, Failure) for call in case.calls for answer in call.answers)
        if fits and len(case.calls[0].requests) > 1:
            assert client.executions(on_triton.model_name(case, engine)) == len(case.calls), case.name
