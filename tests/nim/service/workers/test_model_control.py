"""Loads and unloads of models in a service of two workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.nim.service.process import Service, body, running, write_modules

from .test_workers import ADD, INFER, pids, wait_listening

pytestmark = pytest.mark.service

BROKEN = '(module (func (export "trap") (param f32) (result f32) unreachable))'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("workers")
    models = write_modules(folder, add=ADD, broken=BROKEN)
    with running(folder, models, worker_processes=2, model_control="explicit") as service:
        service.wait_ready()
        wait_listening(service)
        yield service


def _change(service: Service, action: str, name: str = "add") -> int:
    return service.client.send(f"/v2/repository/models/{name}/{action}", b"")[0]


def _statuses(service: Service) -> set[int]:
    """The statuses of inference requests and of readiness on several connections each."""
    ready = {service.client.get("/v2/models/add/ready")[0] for _ in range(8)}
    return {service.client.send(INFER, body(1.0))[0] for _ in range(8)} | ready


def test_a_model_is_loaded_and_unloaded_in_all_workers_before_the_response(service: Service) -> None:
    for _ in range(5):
        assert _change(service, "load") == 200
        assert _statuses(service) == {200}
        statistics = service.client.get("/v2/models/add/stats")[1]["model_stats"]
        assert [each["inference_count"] for each in statistics] == [8]
        assert _change(service, "unload") == 200
        assert _statuses(service) == {400, 404}


def test_a_new_worker_has_the_models_that_the_others_have(service: Service) -> None:
    assert _change(service, "load") == 200
    assert _change(service, "unload", "broken") == 200
    pid = pids(service)[1]
    os.kill(pid, signal.SIGKILL)
    for _ in range(20):
        assert service.client.send(INFER, body(1.0))[0] == 200
    service._until(lambda: pids(service)[1] != pid)
    service.wait_ready()
    assert _statuses(service) == {200}
    pid = pids(service)[2]
    assert _change(service, "unload") == 200
    os.kill(pid, signal.SIGKILL)
    service._until(lambda: pids(service)[2] != pid)
    service.wait_ready()
    assert _statuses(service) == {400, 404}


def test_a_load_that_fails_is_the_error_of_a_worker(service: Service) -> None:
    assert service.client.send("/v2/repository/models/unknown/load", b"")[0] == 500
    status, error = service.client.send("/v2/repository/models/broken/load", b"")
    assert status == 400
    assert error["error"].startswith("load failed for model 'broken'")
