"""Models that are replaced under load, in small; `python -m tests.backend.triton.reloading` is the same at length."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portalis.triton_client import RemoteModel, load_model
from portalis.tritonserver import TritonServer
from tests.backend.triton import models, reloading
from tests.running.waiting import PATIENCE_S, until

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, wasm_backends: Path) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("reloading") / "models"
    repository.mkdir()
    with TritonServer(repository, backend_directory=wasm_backends, model_control="explicit") as server:
        yield server


@pytest.fixture(params=models.ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def load(server: TritonServer) -> Iterator[Callable[[reloading.Model], None]]:
    """Loads a model until the end of the test, also of one that fails: the next counts the server's processes."""
    names = []

    def loaded(model: reloading.Model) -> None:
        names.append(model.name)
        load_model(server.grpc_url, model.name, timeout_s=PATIENCE_S)

    yield loaded
    for name in names:
        reloading.unload(server, name)


def series(server: TritonServer, model: str) -> set[str]:
    """The labels of the model's guest calls."""
    with urllib.request.urlopen(server.metrics_url, timeout=PATIENCE_S) as page:
        return set(re.findall(rf'^wasm_calls({{model="{model}".*}})', page.read().decode(), re.MULTILINE))


def answered(clients: reloading.Load, more: int) -> Callable[[], bool]:
    """Whether so many requests more than now are answered."""
    wanted = clients.answered + more
    return lambda: clients.answered > wanted


def test_no_request_fails_while_versions_are_replaced(
    server: TritonServer, load: Callable[[reloading.Model], None], engine: str
) -> None:
    model = reloading.Model(server.repositories[0], f"{engine}_replaced", engine)
    load(model)
    with reloading.Load(server, model.name) as clients:
        for _ in reloading.reload_explicitly(server, model, 6):
            until(answered(clients, 20), every_s=0.01)
    assert clients.failed == {}
    reloading.settled(server)
    until(
        lambda: len(series(server, model.name)) == 1, lambda: f"series that nobody sends: {series(server, model.name)}"
    )
    unloaded = re.findall(rf"wasm model {model.name} version \d+: unloaded after (\d+) guest calls", server.log())
    assert len(unloaded) == 6
    assert sum(map(int, unloaded)) > 10


def test_two_instances_of_a_model_come_and_go_beside_each_other(
    server: TritonServer, load: Callable[[reloading.Model], None], engine: str
) -> None:
    """In the Python engine each is a process with metrics of its own: with equal labels the first to end would free the
    other's. In the native one they are threads, and both they and the model that replaces theirs share them."""
    pair = "instance_group { count: 2 kind: KIND_CPU }"
    model = reloading.Model(server.repositories[0], f"{engine}_paired", engine, more=pair)
    load(model)
    assert len(series(server, model.name)) == (2 if engine == "python" else 1)
    with reloading.Load(server, model.name) as clients:
        list(reloading.reload_explicitly(server, model, 2))
    assert clients.failed == {}
    reloading.settled(server, 2)


@pytest.mark.parametrize(("engine", "cycles"), [("native", 40), ("python", 4)], indirect=["engine"])
def test_models_that_come_and_go_leave_no_process_and_no_shared_memory(
    server: TritonServer, engine: str, cycles: int
) -> None:
    model = reloading.Model(server.repositories[0], f"{engine}_passing", engine)
    assert list(reloading.come_and_go(server, model, cycles))[-1] == cycles
    until(lambda: series(server, model.name) == set(), lambda: series(server, model.name))


def test_a_native_model_that_is_unloaded_while_it_answers_ends_with_its_last_answer(server: TritonServer) -> None:
    """A request gets its response, or an error that the model does not exist; the next load serves again."""
    model = reloading.Model(server.repositories[0], "leaving")
    client = reloading.client_of(server)
    for _ in range(40):
        client.load_model(model.name)
        with reloading.Load(server, model.name, scrape=False) as clients:
            until(lambda: clients.answered > 20, lambda: dict(clients.failed), every_s=0.005)
            client.unload_model(model.name)
        assert not [
            message for message in clients.failed if "unknown model" not in message and "not ready" not in message
        ], clients.failed
    assert server.running()


def test_a_server_that_polls_answers_through_every_change(tmp_path: Path, wasm_backends: Path) -> None:
    repository = tmp_path / "models"
    repository.mkdir()
    model = reloading.Model(repository, "replaced", "python")
    with TritonServer(
        repository, backend_directory=wasm_backends, model_control="poll", extra_args=["--repository-poll-secs=1"]
    ) as server:
        with reloading.Load(server, model.name) as clients:
            list(reloading.reload_by_polling(server, model, 2))
        assert clients.failed == {}
        reloading.settled(server)
        with RemoteModel(server.grpc_url, model.name) as remote:
            assert {spec.name for spec in remote.inputs} == {"a", "b"}
