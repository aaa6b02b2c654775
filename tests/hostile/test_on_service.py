"""Attacks on the service: each fails only its own request, and the process serves all others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from portalis.backend import GuestTimeout
from tests.backend import guests
from tests.backend.limits import in_time
from tests.nim.service.process import Service, body, running
from tests.running.waiting import PATIENCE_S

from .attacks import ATTACKS, Attack
from .soak import memory_of
from .statuses import statuses

pytestmark = pytest.mark.service
NEIGHBOUR = "neighbour"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with every attack as a model, and a harmless model."""
    folder = tmp_path_factory.mktemp("hostile")
    models: list[dict[str, Any]] = []
    for name, module, limits in (
        (NEIGHBOUR, guests.echo(dims=(1,), batch=8), {}),
        *((attack.name, attack.module, attack.patient_limits) for attack in ATTACKS),
    ):
        (folder / f"{name}.wasm").write_bytes(module)
        models.append({"name": name, "file": f"{name}.wasm", "limits": limits})
    with running(folder, models) as service:
        service.wait_ready()
        yield service


def infer(service: Service, model: str, number: float, limit_s: float = PATIENCE_S) -> tuple[int, Any]:
    """Status, and the output or the error message."""
    parameters = {"parameters": {"wasm.timeout_ms": 1000 * limit_s}}
    request = json.dumps(json.loads(body(number)) | parameters).encode()
    status, document = service.client.send(f"/v2/models/{model}/infer", request)
    return status, document["outputs"][0]["data"] if status == 200 else document["error"]


def check_alive(service: Service) -> None:
    assert service.process.poll() is None, service.text()[-2000:]
    assert infer(service, NEIGHBOUR, 5) == (200, [5])
    assert service.client.get("/v1/health/live")[0] == 200


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_fails_only_its_own_request(attack: Attack, service: Service) -> None:
    numbers = (2.0, 1.0, 3.0, 1.0, 0.0)

    def check(limit_s: float) -> None:
        with ThreadPoolExecutor(len(numbers)) as pool:
            results = list(pool.map(lambda number: infer(service, attack.name, number, limit_s), numbers))
        for number, (status, result) in zip(numbers, results, strict=True):
            if number == 1:
                assert status in statuses(attack), result
                attack.check_error(result)
            elif status == 504:
                raise GuestTimeout(result)
            else:
                assert status == 200, result
                attack.check_good(number, result)

    in_time(check, attack.timeout_s)
    check_alive(service)


def test_concurrent_attacks_do_not_affect_the_service(service: Service) -> None:
    with ThreadPoolExecutor(8) as pool:
        hostile = [pool.submit(infer, service, attack.name, 1.0, attack.timeout_s) for attack in ATTACKS * 2]
        good = [pool.submit(infer, service, NEIGHBOUR, float(number)) for number in range(50)]
        assert [future.result() for future in good] == [(200, [number]) for number in range(50)]
        assert all(future.result()[0] != 200 for future in hostile)
    check_alive(service)
    assert memory_of(service) < 1 << 30
