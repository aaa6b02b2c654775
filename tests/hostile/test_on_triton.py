"""Attacks on a real Triton, with each engine: each fails only its own request, and all models remain available."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from portalis.backend import GuestTimeout
from portalis.tritonserver import TritonServer
from tests.backend import guests
from tests.backend.limits import in_time
from tests.backend.triton import models
from tests.running.waiting import PATIENCE_S

from .attacks import ATTACKS, Attack
from .statuses import triton_statuses

pytestmark = pytest.mark.triton
NEIGHBOUR = "hostile_neighbour"
SETTINGS = {"timeout_s": ("wasm.timeout_ms", 1000), "max_memory_bytes": ("wasm.max_memory_bytes", 1)}


def config(attack: Attack) -> str:
    """A minimal configuration with the attack's limits and dynamic batching, which puts requests into one call."""
    values = {SETTINGS[name][0]: str(int(value * SETTINGS[name][1])) for name, value in attack.patient_limits.items()}
    batching = "dynamic_batching { max_queue_delay_microseconds: 20000 }\n"
    return models.BARE + models.parameters(values) + batching


class Client:
    """A gRPC client of the server."""

    def __init__(self, server: TritonServer) -> None:
        import tritonclient.grpc as grpc

        self._grpc = grpc
        (self.repository,) = server.repositories
        self.client = grpc.InferenceServerClient(server.grpc_url)

    def infer(self, model: str, number: float, limit_s: float = PATIENCE_S) -> tuple[str, Any]:
        """OK and the output, or the status and the error message."""
        from tritonclient.utils import InferenceServerException

        tensor = self._grpc.InferInput("x", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.full((1, 1), number, np.float32))
        try:
            parameters = {"wasm.timeout_ms": str(int(1000 * limit_s))}
            result = self.client.infer(model, [tensor], parameters=parameters)
            return "OK", result.as_numpy("y").ravel().tolist()
        except InferenceServerException as error:
            return str(error.status()).removeprefix("StatusCode."), error.message()


@pytest.fixture(scope="module")
def server(shared_triton: TritonServer) -> Iterator[tuple[Client, set[str]]]:
    """A client of a server with a harmless model for each engine, and the names of the loaded models."""
    client, (repository,) = Client(shared_triton), shared_triton.repositories
    loaded = {f"{engine}_{NEIGHBOUR}" for engine in models.ENGINES}
    for engine in models.ENGINES:
        models.write_for(repository, engine, NEIGHBOUR, guests.echo(dims=(1,), batch=8))
    for name in loaded:
        client.client.load_model(name)
    yield client, loaded
    for name in loaded:
        client.client.unload_model(name)


@pytest.mark.parametrize("engine", models.ENGINES)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_fails_only_its_own_request(attack: Attack, engine: str, server: tuple[Client, set[str]]) -> None:
    client, loaded = server
    numbers, model = (2.0, 1.0, 3.0, 0.0), f"{engine}_{attack.name}"
    models.write_for(client.repository, engine, attack.name, attack.module, config(attack))
    client.client.load_model(model)
    loaded.add(model)

    def check(limit_s: float) -> None:
        with ThreadPoolExecutor(len(numbers)) as pool:
            results = list(pool.map(lambda number: client.infer(model, number, limit_s), numbers))
        for number, (status, result) in zip(numbers, results, strict=True):
            if number == 1:
                assert status in triton_statuses(attack), (status, result)
                attack.check_error(result)
            elif status == "UNAVAILABLE" and "time limit" in result:
                raise GuestTimeout(result)
            else:
                assert status == "OK", result
                attack.check_good(number, [value.decode() if isinstance(value, bytes) else value for value in result])

    in_time(check, attack.timeout_s)
    for each in models.ENGINES:
        assert client.infer(f"{each}_{NEIGHBOUR}", 5) == ("OK", [5])
    assert client.client.is_server_live()
