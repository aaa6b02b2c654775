"""Every row of the table by the native engine in a real Triton, and some by the Python engine in the same server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from portalis.tritonserver import TritonServer
from tests.backend.cases import on_triton
from tests.backend.cases.case import Case, Failure, differences
from tests.backend.cases.on_triton import Client
from tests.backend.cases.table import PARTS, part
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.triton


def served(name: str) -> Iterator[tuple[Case, str]]:
    """The rows of a part, each with the engine that serves it: the native one all but commands, which only Python runs,
    and the Python engine, whose models are a process each, a few."""
    for case in part(name):
        if case.factors["convention"] != "command":
            yield case, "native"
        if case.name in on_triton.SAMPLE:
            yield case, "python"


def all_served() -> Iterator[tuple[Case, str]]:
    """All served cases, with their engines."""
    for name in PARTS:
        yield from served(name)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, wasm_backends: Path) -> Iterator[Client]:
    repository = tmp_path_factory.mktemp("cases")
    for case, engine in all_served():
        on_triton.write_model(repository, case, engine)
    with TritonServer(repository, backend_directory=wasm_backends, start_timeout_s=PATIENCE_S) as triton:
        yield Client(triton)


@pytest.mark.parametrize("name", PARTS)
def test_triton_answers_as_in_the_table(client: Client, name: str) -> None:
    wrong = [
        f"{case.name} by {engine}: {message}"
        for case, engine in served(name)
        for message in differences(case, client.run(case, engine), on_triton.seen)
    ]
    assert not wrong, "\n".join(wrong[:20])


def test_both_engines_serve(client: Client) -> None:
    names = [case.name for case, engine in all_served() if engine == "python"]
    assert sorted(names) == sorted(on_triton.SAMPLE)
    assert len(list(all_served())) > 600


def test_what_the_guests_wrote_is_in_the_log(client: Client) -> None:
    for case, engine in all_served():
        if case.lines:
            name = on_triton.model_name(case, engine)
            client.eventually(name, [f"{stream}: {line}" for stream, line in case.lines])


def test_triton_joined_what_fits_together(client: Client) -> None:
    for case, engine in all_served():
        fits = all(not isinstance(answer, Failure) for call in case.calls for answer in call.answers)
        if fits and len(case.calls[0].requests) > 1:
            assert client.executions(on_triton.model_name(case, engine)) == len(case.calls), case.name
